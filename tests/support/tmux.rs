//! A terminal of tmux, with a shell in it: keys are sent to it and its screen is read.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Sandbox, has};

/// How long a screen may take to show what is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The terminal. It ends when this is dropped.
pub struct Tmux<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Tmux<'a> {
    /// A shell in the sandbox on a terminal of this size; `None` where there is no tmux.
    pub fn new(sandbox: &'a Sandbox, columns: u16, rows: u16) -> Option<Self> {
        if !has("tmux") {
            return None;
        }
        let tmux = Self { sandbox };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = "PS1='% ' exec bash --norc --noprofile";
        tmux.ask(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            shell,
        ]);
        tmux.wait("%");
        Some(tmux)
    }

    /// Presses keys, by the names of tmux(1): `Enter`, `C-c`, `x`.
    pub fn press(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    /// Types text as it is.
    pub fn type_text(&self, text: &str) {
        self.ask(&["send-keys", "-l", text]);
    }

    /// Types a command line and Enter.
    pub fn run(&self, line: &str) {
        self.type_text(line);
        self.press(&["Enter"]);
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.ask(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// The lines on the screen.
    pub fn screen(&self) -> Vec<String> {
        let text = self.ask(&["capture-pane", "-p"]);
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// The screen with the sequences that make its colours.
    pub fn painted(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"])
    }

    /// Waits until a line on the screen holds the text, and returns the screen.
    pub fn wait(&self, text: &str) -> Vec<String> {
        self.wait_until(text, |screen| screen.iter().any(|line| line.contains(text)))
    }

    pub fn wait_until(&self, what: &str, is_met: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if is_met(&screen) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: {screen:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Hangs up, as a lost connection does.
    pub fn hang_up(&self) {
        self.ask(&["kill-server"]);
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let mut command: Command = self.sandbox.command("tmux");
        let output = command
            .args(["-S", "tmux"])
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        // It may have hung up already.
        let _ = self
            .sandbox
            .command("tmux")
            .args(["-S", "tmux", "kill-server"])
            .output();
    }
}
