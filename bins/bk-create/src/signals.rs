//! SIGINT and SIGTERM as something to look at between two steps.
//!
//! Knows nothing of what is to be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Remembers the last signal.
#[derive(Clone)]
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From now on the two signals are remembered instead of ending the process.
    pub(crate) fn watch() -> Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).context("a signal has a number")?;
            signal_hook::flag::register_usize(signal, last.clone(), number)
                .context("cannot watch for signals")?;
        }
        Ok(Self(last))
    }

    /// The number of the signal that came, if one did.
    pub(crate) fn caught(&self) -> Option<u8> {
        let number = self.0.load(Ordering::Relaxed);
        u8::try_from(number).ok().filter(|number| *number > 0)
    }
}
