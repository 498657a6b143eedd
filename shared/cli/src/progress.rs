//! A progress bar on stderr where that is a terminal, and warnings above it.
//!
//! Knows no record; bytes and a text of the program's own are all that it shows.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::flags::Program;

/// How often the bar is drawn again.
const TICK: Duration = Duration::from_millis(200);

/// The bar of a program.
pub struct Progress {
    program: &'static Program,
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is shown yet, and nothing ever where stderr is no terminal.
    #[must_use]
    pub fn new(program: &'static Program) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self { program, bar }
    }

    /// Shows the bar, from here on with so many bytes to do and a text such as `3/7 files`.
    pub fn begin(
        &self,
        total_bytes: u64,
        text: impl Fn() -> String + Clone + Send + Sync + 'static,
    ) {
        let style = ProgressStyle::with_template(
            "{bar:24} {binary_bytes}/{binary_total_bytes}, {text}, {binary_bytes_per_sec}, {eta} left",
        );
        let show = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A bar that cannot be written is no reason to stop.
            let _ = out.write_str(&text());
        };
        // The style first: a length is drawn at once.
        if let Ok(style) = style {
            self.bar.set_style(style.with_key("text", show));
        }
        self.bar.set_length(total_bytes);
        self.keep_ticking();
    }

    /// Draws the bar also while nothing is done. Where no thread is to be had for that, it is
    /// drawn as something is; where there is no bar, none is wanted.
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

    /// As [`Progress::begin`], where it is not known how many bytes there are.
    pub fn begin_endless(&self) {
        let style = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            self.bar.set_style(style);
        }
        self.keep_ticking();
    }

    /// Passes on what another program tells people, above the bar.
    pub fn pass_on(&self, bytes: &[u8]) {
        // Where stderr is gone there is nobody to be told.
        let _ = self.bar.suspend(|| std::io::stderr().write_all(bytes));
    }

    /// So many more bytes are done.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Tells people something, above the bar.
    pub fn warn(&self, text: &str) {
        self.bar.suspend(|| self.program.warn(text));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
