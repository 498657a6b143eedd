//! A progress bar on stderr if that is a terminal, and warnings above it.
//!
//! Shows bytes and a text of the caller; knows no record.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::flags::Program;

/// How often the bar is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// The bar of a program.
pub struct Progress {
    program: &'static Program,
    bar: ProgressBar,
    done_count: Arc<AtomicU64>,
}

impl Progress {
    /// A hidden bar. It stays hidden if stderr is not a terminal.
    #[must_use]
    pub fn new(program: &'static Program) -> Self {
        Self {
            program,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            done_count: Arc::default(),
        }
    }

    /// Shows the bar, with the number of bytes to do and a word for it.
    pub fn begin(&self, total_bytes: u64, what: &'static str) {
        self.show(total_bytes, move || what.to_owned());
    }

    /// As [`Progress::begin`], with a number of things to do too: `3/7 files`.
    pub fn begin_counting(&self, total_bytes: u64, total_count: u64, what: &'static str) {
        let done = self.done_count.clone();
        let text = move || format!("{}/{total_count} {what}", done.load(Ordering::Relaxed));
        self.show(total_bytes, text);
    }

    /// One more of them is done.
    pub fn count(&self) {
        self.done_count.fetch_add(1, Ordering::Relaxed);
    }

    fn show(&self, total_bytes: u64, text: impl Fn() -> String + Clone + Send + Sync + 'static) {
        let style = ProgressStyle::with_template(
            "{bar:24} {binary_bytes}/{binary_total_bytes}, {text}, {binary_bytes_per_sec}, {eta} left",
        );
        let show = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Failing to draw the bar is no reason to stop.
            let _ = out.write_str(&text());
        };
        // The style first: a length is drawn at once.
        if let Ok(style) = style {
            self.bar.set_style(style.with_key("text", show));
        }
        self.bar.set_length(total_bytes);
        self.keep_ticking();
    }

    /// Redraws the bar while no bytes are added, too. Without a thread to do that it is only drawn
    /// when bytes are added.
    fn keep_ticking(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let bar = self.bar.downgrade();
        let tick = move || {
            while let Some(bar) = bar.upgrade().filter(|bar| !bar.is_finished()) {
                bar.tick();
                drop(bar);
                std::thread::sleep(TICK);
            }
        };
        let _ = std::thread::Builder::new().spawn(tick);
    }

    /// As [`Progress::begin`], if the number of bytes is not known.
    pub fn begin_unsized(&self) {
        let style = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            self.bar.set_style(style);
        }
        self.keep_ticking();
    }

    /// Prints the stderr of another program above the bar.
    pub fn pass_on(&self, bytes: &[u8]) {
        // There is no other place to report a closed stderr.
        let _ = self.bar.suspend(|| std::io::stderr().write_all(bytes));
    }

    /// Advances the bar.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Prints a warning above the bar.
    pub fn warn(&self, text: &str) {
        self.bar.suspend(|| self.program.warn(text));
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
