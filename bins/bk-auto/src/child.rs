//! Children: who waits for them, for how long, and what became of them.
//!
//! As process 1 of a container bk-auto reaps orphans too. Knows no job.

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bk_store::Signals;
use bk_store::signals::Wakeups;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group};

/// How often a child is polled where nothing wakes the wait.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Between SIGTERM and SIGKILL for a child that takes too long.
const GRACE: Duration = Duration::from_secs(5);

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// It was ended, as it took too long.
    pub(crate) is_late: bool,
}

/// A child that was begun, and that somebody will ask for.
#[derive(Debug)]
struct Begun {
    pid: Pid,
    /// When its next signal is due.
    until: Option<Instant>,
    is_late: bool,
    status: Option<ExitStatus>,
}

/// What ends a wait, whether a user is there, and the children that are at work.
pub(crate) struct Watch {
    pub(crate) signals: Signals,
    wakeups: Wakeups,
    /// A user may be there to answer a question: it is not `--wait`.
    pub(crate) is_attended: bool,
    children: RefCell<Vec<Begun>>,
}

impl Watch {
    pub(crate) fn new(signals: Signals, is_attended: bool) -> Result<Self> {
        Ok(Self {
            wakeups: signals.wakeups()?,
            signals,
            is_attended,
            children: RefCell::default(),
        })
    }

    /// Takes a child over. It, and its session, is ended where it takes longer than `limit`.
    pub(crate) fn begin(&self, child: &Child, limit: Option<Duration>) -> Result<Pid> {
        let number = i32::try_from(child.id())?;
        let pid = Pid::from_raw(number).context("it has no process id")?;
        self.children.borrow_mut().push(Begun {
            pid,
            until: limit.and_then(|limit| Instant::now().checked_add(limit)),
            is_late: false,
            status: None,
        });
        Ok(pid)
    }

    /// How a child ended, if it did; it is told once.
    pub(crate) fn ended(&self, pid: Pid) -> Result<Option<Ended>> {
        self.tend()?;
        let mut children = self.children.borrow_mut();
        let has_ended = |it: &Begun| it.pid == pid && it.status.is_some();
        let at = children.iter().position(has_ended);
        Ok(at.map(|at| children.swap_remove(at)).and_then(|child| {
            Some(Ended {
                status: child.status?,
                is_late: child.is_late,
            })
        }))
    }

    /// Waits until a child has ended. `on_signal` gets each signal, and how many came before.
    pub(crate) fn wait(&self, pid: Pid, mut on_signal: impl FnMut(Signal, usize)) -> Result<Ended> {
        let mut count = 0;
        loop {
            if let Some(ended) = self.ended(pid)? {
                return Ok(ended);
            }
            // A signal that came just before the child began counts too.
            if let Some(signal) = self.next_signal() {
                on_signal(signal, count);
                count += 1;
            }
            self.wakeups.wait(POLL_EVERY)?;
        }
    }

    /// Waits so long, or until a signal comes or a child ends.
    pub(crate) fn pause(&self, duration: Duration) -> Result<()> {
        self.wakeups.wait(duration.min(POLL_EVERY))?;
        self.tend()
    }

    /// A signal that came since this was last asked.
    pub(crate) fn next_signal(&self) -> Option<Signal> {
        let number = self.signals.next().map(i32::from);
        number.and_then(Signal::from_named_raw)
    }

    /// Reaps what has ended, and ends what takes too long.
    fn tend(&self) -> Result<()> {
        let mut children = self.children.borrow_mut();
        while let Some((pid, status)) = reap()? {
            if let Some(child) = children.iter_mut().find(|it| it.pid == pid) {
                child.status = Some(status);
                if child.is_late {
                    // What it began need not have heeded the first signal either. An error means that
                    // there is nothing, or that it had no session of its own.
                    let _ = kill_process_group(pid, Signal::KILL);
                }
            }
        }
        let now = Instant::now();
        for child in children.iter_mut().filter(|it| it.status.is_none()) {
            if child.until.is_some_and(|until| until <= now) {
                let signal = match child.is_late {
                    false => Signal::TERM,
                    true => Signal::KILL,
                };
                signal_all(child.pid, signal);
                child.is_late = true;
                child.until = now.checked_add(GRACE);
            }
        }
        Ok(())
    }
}

/// Sends a signal to a child's session, where it has one, else to it.
pub(crate) fn signal_all(pid: Pid, signal: Signal) {
    // An error means that it has ended already.
    if kill_process_group(pid, signal).is_err() {
        let _ = kill_process(pid, signal);
    }
}

/// `ended with exit status 1`, `was ended by signal 9`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The next child that has ended.
fn reap() -> Result<Option<(Pid, ExitStatus)>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                return Ok(Some((pid, ExitStatus::from_raw(status.as_raw()))));
            }
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => bail!("cannot wait for it: {error}"),
        }
    }
}
