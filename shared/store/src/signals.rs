//! SIGINT, SIGTERM and SIGHUP: while there is something to tidy, they are remembered, to be
//! looked at between two steps; at any other time they end the process as they always do.
//!
//! Knows nothing of what is to be tidied.

use std::ffi::c_int;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register_conditional_default, register_usize};
use signal_hook::low_level::pipe;

/// Exit status of a process that a signal ended, as the shell has it.
pub fn ended_by(signal: u8) -> u8 {
    128 + signal
}

/// Remembers the last signal.
#[derive(Clone)]
pub struct Signals {
    last: Arc<AtomicUsize>,
    unheard: Arc<AtomicUsize>,
    ends_process: Arc<AtomicBool>,
    taken: Vec<c_int>,
}

/// A wait that ends early when a signal comes or a child ends, also when that was just before.
pub struct Wakeups {
    socket: UnixStream,
}

impl Signals {
    /// Takes the signals over, but for those that nohup(1) or a shell has turned off.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn watch() -> Result<Self> {
        let mut signals = Self {
            last: Arc::new(AtomicUsize::new(0)),
            unheard: Arc::new(AtomicUsize::new(0)),
            ends_process: Arc::new(AtomicBool::new(true)),
            taken: Vec::new(),
        };
        let ignored = ignored();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if ignored & (1 << (signal - 1)) == 0 {
                signals
                    .take_over(signal)
                    .context("cannot watch for signals")?;
                signals.taken.push(signal);
            }
        }
        Ok(signals)
    }

    fn take_over(&self, signal: c_int) -> Result<()> {
        for kept in [&self.last, &self.unheard] {
            register_usize(signal, kept.clone(), usize::try_from(signal)?)?;
        }
        register_conditional_default(signal, self.ends_process.clone())?;
        Ok(())
    }

    /// For a process that has to wait.
    ///
    /// # Errors
    /// Those of socketpair(2) and sigaction(2).
    pub fn wakeups(&self) -> Result<Wakeups> {
        let cannot = "cannot watch for signals";
        let (socket, woken_by) = UnixStream::pair().context(cannot)?;
        for signal in self.taken.iter().chain(&[SIGCHLD]) {
            let end = woken_by.try_clone().context(cannot)?;
            pipe::register(*signal, end).context(cannot)?;
        }
        Ok(Wakeups { socket })
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
    pub fn caught(&self) -> Option<u8> {
        signal(self.last.load(Ordering::Relaxed))
    }

    /// The exit status: that of the signal that came, else the given one.
    #[must_use]
    pub fn exit_status(&self, status: u8) -> u8 {
        self.caught().map_or(status, ended_by)
    }

    /// The number of a signal that came since this was last asked.
    #[must_use]
    pub fn next(&self) -> Option<u8> {
        signal(self.unheard.swap(0, Ordering::Relaxed))
    }
}

fn signal(number: usize) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number > 0)
}

impl Wakeups {
    /// Waits so long, or until something comes.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        // A timeout of zero would be none.
        let timeout = timeout.max(Duration::from_millis(1));
        let set = self.socket.set_read_timeout(Some(timeout));
        let read = set.and_then(|()| (&self.socket).read(&mut [0; 64]));
        match read.map_err(|error| (error.kind(), error)) {
            Err((ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted, _))
            | Ok(_) => Ok(()),
            Err((_, error)) => Err(error).context("cannot wait"),
        }
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
