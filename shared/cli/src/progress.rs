//! A progress bar on stderr if that is a terminal, and warnings above it.
//!
//! Shows bytes and a text of the caller, in one line of the terminal; knows no record.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::flags::Program;
use crate::output::terminal_width;
use crate::text::{fit, width_of};
use crate::units::human_size;

/// The width of the bar itself, and the least one that is worth drawing.
const BAR_WIDTH: usize = 24;
const BAR_WIDTH_MIN: usize = 8;
/// Of a terminal that does not tell its width.
const COLUMNS: usize = 80;

/// How often the bar is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// The bar of a program; a clone is the same one.
#[derive(Clone)]
pub struct Progress {
    program: &'static Program,
    bar: ProgressBar,
    done_count: Arc<AtomicU64>,
    is_ticking: Arc<AtomicBool>,
}

/// What the line shows.
struct Figures<'a> {
    done_bytes: u64,
    total_bytes: u64,
    text: &'a str,
    bytes_per_sec: f64,
    left: Duration,
}

/// The line, for a terminal of this width.
fn line(figures: &Figures<'_>, width: usize) -> String {
    let total = figures.total_bytes;
    let done = figures.done_bytes.min(total);
    // A size, so neither negative nor too large.
    let per_sec = figures.bytes_per_sec as u64;
    let told = format!(
        "{}/{}, {}, {}/s, {:#} left",
        human_size(done),
        human_size(total),
        figures.text,
        human_size(per_sec),
        HumanDuration(figures.left)
    );
    let room = width.saturating_sub(width_of(&told) + 1).min(BAR_WIDTH);
    if room < BAR_WIDTH_MIN {
        return fit(&told, width);
    }
    let share = done as f64 / total.max(1) as f64;
    let full = (share * room as f64) as usize;
    let bar = "█".repeat(full) + &"░".repeat(room.saturating_sub(full));
    format!("{bar} {told}")
}

impl Progress {
    /// A hidden bar. It stays hidden if stderr is not a terminal.
    #[must_use]
    pub fn new(program: &'static Program) -> Self {
        Self {
            program,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            done_count: Arc::default(),
            is_ticking: Arc::default(),
        }
    }

    /// Shows the bar of a phase from its beginning, with the number of bytes to do and a word for it.
    pub fn begin(&self, total_bytes: u64, what: &'static str) {
        self.show(total_bytes, move || what.to_owned());
    }

    /// As [`Progress::begin`], with a number of things to do too: `3/7 files`.
    pub fn begin_counting(&self, total_bytes: u64, total_count: u64, what: &'static str) {
        self.done_count.store(0, Ordering::Relaxed);
        let done = self.done_count.clone();
        // An earlier backup may have told how many there are.
        let done = move || done.load(Ordering::Relaxed).min(total_count);
        let text = move || format!("{}/{total_count} {what}", done());
        self.show(total_bytes, text);
    }

    /// One more of them is done.
    pub fn count(&self) {
        self.done_count.fetch_add(1, Ordering::Relaxed);
    }

    fn show(&self, total_bytes: u64, text: impl Fn() -> String + Clone + Send + Sync + 'static) {
        let show = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let figures = Figures {
                done_bytes: state.pos(),
                total_bytes,
                text: &text(),
                bytes_per_sec: state.per_sec(),
                left: state.eta(),
            };
            let width = terminal_width(std::io::stderr()).unwrap_or(COLUMNS);
            // Failing to draw the bar is no reason to stop.
            let _ = out.write_str(&line(&figures, width));
        };
        // The style first: a length is drawn at once.
        if let Ok(style) = ProgressStyle::with_template("{line}") {
            self.bar.set_style(style.with_key("line", show));
        }
        self.bar.reset();
        self.bar.set_length(total_bytes);
        self.keep_ticking();
    }

    /// Redraws the bar while no bytes are added, too. Without a thread to do that it is only drawn
    /// when bytes are added.
    fn keep_ticking(&self) {
        if self.bar.is_hidden() || self.is_ticking.swap(true, Ordering::Relaxed) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_never_wider_than_the_terminal_and_never_over_its_total() {
        let figures = |done_bytes| Figures {
            done_bytes,
            total_bytes: 900 << 20,
            text: "7/12 archives",
            bytes_per_sec: 104_857_600.0,
            left: Duration::from_secs(5),
        };
        let shown = |width| line(&figures(450 << 20), width);
        assert_eq!(
            shown(80),
            "████████████░░░░░░░░░░░░ 450 MiB/900 MiB, 7/12 archives, 100 MiB/s, 5s left"
        );
        assert_eq!(
            shown(62),
            "█████░░░░░░ 450 MiB/900 MiB, 7/12 archives, 100 MiB/s, 5s left"
        );
        assert_eq!(
            shown(58),
            "450 MiB/900 MiB, 7/12 archives, 100 MiB/s, 5s left"
        );
        assert_eq!(shown(20), "450 MiB/900 MiB, 7/…");
        for width in 0..100 {
            assert!(width_of(&shown(width)) <= width, "{width}");
        }
        assert!(line(&figures(u64::MAX), 80).contains(" 900 MiB/900 MiB"));
    }
}
