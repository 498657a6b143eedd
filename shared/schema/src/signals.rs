//! SIGINT, SIGTERM and SIGHUP: while there is something to tidy, they are remembered, to be
//! looked at between two steps; at any other time they end the process as they always do.
//!
//! Knows nothing of what is to be tidied.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register_conditional_default, register_usize};

/// Exit status of a process that signal n ended: this plus n.
pub const SIGNALLED: u8 = 128;

/// Remembers the last signal.
#[derive(Clone)]
pub struct Signals {
    last: Arc<AtomicUsize>,
    ends_process: Arc<AtomicBool>,
}

impl Signals {
    /// Takes the signals over, but for those that nohup(1) or a shell has turned off.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn watch() -> Result<Self> {
        let signals = Self {
            last: Arc::new(AtomicUsize::new(0)),
            ends_process: Arc::new(AtomicBool::new(true)),
        };
        let ignored = ignored();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if ignored & (1 << (signal - 1)) == 0 {
                signals
                    .take_over(signal)
                    .context("cannot watch for signals")?;
            }
        }
        Ok(signals)
    }

    fn take_over(&self, signal: c_int) -> Result<()> {
        register_usize(signal, self.last.clone(), usize::try_from(signal)?)?;
        register_conditional_default(signal, self.ends_process.clone())?;
        Ok(())
    }

    /// From now on signals are remembered, and no longer end the process.
    pub fn hold(&self) {
        self.ends_process.store(false, Ordering::SeqCst);
    }

    /// From now on they end the process again.
    pub fn release(&self) {
        self.ends_process.store(true, Ordering::SeqCst);
    }

    /// The number of the signal that came, if one did.
    #[must_use]
    pub fn caught(&self) -> Option<u8> {
        let number = self.last.load(Ordering::Relaxed);
        u8::try_from(number).ok().filter(|number| *number > 0)
    }
}

/// The mask of ignored signals, bit n - 1 for signal n (proc_pid_status(5)); none where there
/// is no /proc.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}
