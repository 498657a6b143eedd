//! The manifest of the backup that is being made, written while its archive is.
//!
//! In a thread of its own, which the archive does not wait for but for a bounded queue. Knows neither the
//! archive nor the record.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result, anyhow};
use bk_schema::manifest::Segment;
use bk_store::home::Home;
use bk_store::manifest::writer::{Finished, Writer};

/// So many segments wait at most.
const QUEUE_SEGMENTS: usize = 64;

/// A manifest that is being written.
pub(crate) struct Recording {
    segments: SyncSender<Segment>,
    writing: Result<JoinHandle<Result<Option<Finished>>>>,
}

impl Recording {
    /// Begins one. What fails is told at the end.
    pub(crate) fn begin(home: &Home, format: &str) -> Self {
        let (segments, queue) = sync_channel(QUEUE_SEGMENTS);
        let (home, format) = (home.clone(), format.to_owned());
        let writing = Builder::new().spawn(move || write(&home, &format, queue));
        Self {
            segments,
            writing: writing.context("cannot start a thread"),
        }
    }

    /// Adds the next segment.
    pub(crate) fn add(&self, segment: Segment) {
        // Nobody takes it where the writing has failed, which is told at the end.
        let _ = self.segments.send(segment);
    }

    /// Ends it, without its name; `None` where there is to be none.
    ///
    /// # Errors
    /// Whatever failed.
    pub(crate) fn finish(self) -> Result<Option<Finished>> {
        drop(self.segments);
        let ended = self.writing?.join();
        ended.unwrap_or_else(|_| Err(anyhow!("its thread failed")))
    }
}

fn write(home: &Home, format: &str, queue: Receiver<Segment>) -> Result<Option<Finished>> {
    let Some(mut writer) = Writer::begin(home, format)? else {
        return Ok(None);
    };
    queue.into_iter().try_for_each(|it| writer.add(it))?;
    writer.finish().map(Some)
}
