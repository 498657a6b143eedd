//! The deadline of a sandbox: what a test starts in it does not keep the test waiting without end.
//!
//! Knows no program: what belongs to a sandbox is told by its environment.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than the longest test takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
const LONG_DEADLINE: Duration = Duration::from_secs(80 * 60);
const AGAIN: Duration = Duration::from_secs(1);

/// As long as this lives, the deadline counts.
pub struct Deadline {
    _alive: Sender<()>,
}

impl Deadline {
    pub fn of(home: &Path) -> Self {
        let deadline = match std::env::var_os("BK_TESTS_LONG") {
            Some(_) => LONG_DEADLINE,
            None => DEADLINE,
        };
        Self::after(deadline, home)
    }

    fn after(deadline: Duration, home: &Path) -> Self {
        let (alive, ended) = channel::<()>();
        let home = home.to_owned();
        std::thread::spawn(move || {
            let mut wait = deadline;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                kill_all(&home);
                wait = AGAIN;
            }
        });
        Self { _alive: alive }
    }
}

/// Kills every process that was started with this home, so that who waits for it goes on, and fails.
fn kill_all(home: &Path) {
    let marker = format!("HOME={}\0", home.display());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let id = process.file_name().to_str().and_then(|it| it.parse().ok());
        let Some(pid) = id.and_then(Pid::from_raw) else {
            continue;
        };
        // What has ended meanwhile, or is another user's, is none of ours.
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        let mut words = environ.split_inclusive(|byte| *byte == 0);
        if words.any(|word| word == marker.as_bytes()) {
            eprintln!("deadline: process {pid:?} of {} is killed", home.display());
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn what_hangs_is_killed_at_the_deadline_and_nothing_else() {
    let sandbox = super::Sandbox::new();
    let other = super::Sandbox::new();
    let mut stays = other.start("sleep 100");
    let deadline = Deadline::after(Duration::from_millis(100), sandbox.dir.path());
    let ran = sandbox.run("sleep 100 & wait");
    drop(deadline);
    assert_eq!(ran.status, 137, "{ran:#?}");
    assert_eq!(stays.try_wait().unwrap(), None);
    stays.kill().unwrap();
    stays.wait().unwrap();
}
