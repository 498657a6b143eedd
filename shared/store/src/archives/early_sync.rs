//! Syncs a file while it grows, so that its end does not wait for all of it.
//!
//! In a thread of its own. Knows nothing of what is written.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// So much is written before it is synced.
const STEP_BYTES: usize = 32 << 20;

/// The syncing of a file that grows.
pub struct EarlySync<'a> {
    file: &'a File,
    unsynced_bytes: usize,
    syncing: Option<Syncing>,
}

struct Syncing {
    /// Asks for one more.
    asked: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl<'a> EarlySync<'a> {
    /// Nothing is begun as long as the file is small.
    #[must_use]
    pub fn of(file: &'a File) -> Self {
        Self {
            file,
            unsynced_bytes: 0,
            syncing: None,
        }
    }

    /// Tells of bytes that were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes < STEP_BYTES {
            return;
        }
        self.unsynced_bytes = 0;
        if self.syncing.is_none() {
            // Where it cannot begin, the end waits for all.
            self.syncing = begin(self.file).ok();
        }
        if let Some(syncing) = &self.syncing {
            // One that is asked for already syncs this too; one that failed is told at the end.
            let _ = syncing.asked.try_send(());
        }
    }

    /// Ends it. The last bytes are left to be synced.
    ///
    /// # Errors
    /// What a sync failed with: Linux tells it once, so that another one would not.
    pub fn finish(self) -> io::Result<()> {
        let Some(Syncing { asked, thread }) = self.syncing else {
            return Ok(());
        };
        drop(asked);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs it failed")))
    }
}

fn begin(file: &File) -> io::Result<Syncing> {
    let file = file.try_clone()?;
    let (asked, asks) = sync_channel(1);
    let sync = move || asks.into_iter().try_for_each(|()| file.sync_data());
    let thread = Builder::new().spawn(sync)?;
    Ok(Syncing { asked, thread })
}
