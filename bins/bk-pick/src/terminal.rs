//! The terminal: switches /dev/tty to a full screen, and back whatever happens.
//!
//! Does not know what is shown.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use bk_cli::UsageError;
use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use crossterm::style::Print;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

const TTY: &str = "/dev/tty";

/// Mouse buttons and wheel, but no motion, with positions as numbers (xterm, control sequences).
const MOUSE_ON: Print<&str> = Print("\x1b[?1000h\x1b[?1006h");
const MOUSE_OFF: Print<&str> = Print("\x1b[?1006l\x1b[?1000l");

/// For a terminal that does not report its size, such as a serial line.
const USUAL_COLUMNS: u16 = 80;
const USUAL_ROWS: u16 = 24;

/// Opens the terminal.
///
/// # Errors
/// [`UsageError`]: there is none, or it cannot move its cursor.
pub(crate) fn open() -> Result<File> {
    let cannot = |why: String| UsageError(format!("{why}: use bk-ls instead"));
    let tty = OpenOptions::new().read(true).write(true).open(TTY);
    let tty = tty.map_err(|error| cannot(format!("no terminal: {error}")))?;
    let kind = std::env::var("TERM").unwrap_or_default();
    if kind.is_empty() || kind == "dumb" {
        let why = format!("this terminal cannot show a screen: TERM is '{kind}'");
        return Err(cannot(why).into());
    }
    Ok(tty)
}

/// The mode of the terminal, which the panic hook restores too.
struct Mode {
    tty: File,
    before: Termios,
    is_screen: AtomicBool,
}

impl Mode {
    fn new(tty: File) -> io::Result<Self> {
        Ok(Self {
            before: tcgetattr(&tty)?,
            tty,
            is_screen: AtomicBool::new(false),
        })
    }

    fn enter(&self) -> io::Result<()> {
        // First, so that a failure halfway is undone.
        self.is_screen.store(true, Ordering::SeqCst);
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.tty, OptionalActions::Now, &raw)?;
        execute!(
            &self.tty,
            EnterAlternateScreen,
            EnableBracketedPaste,
            MOUSE_ON
        )
    }

    /// Does nothing the second time.
    fn leave(&self) -> io::Result<()> {
        if !self.is_screen.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let written = execute!(
            &self.tty,
            MOUSE_OFF,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        tcsetattr(&self.tty, OptionalActions::Now, &self.before)?;
        written
    }
}

/// The full screen. Dropping it restores the terminal, and so does a panic.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
    mode: Arc<Mode>,
}

impl Screen {
    /// Switches the terminal to a full screen, and stdin to the terminal.
    pub(crate) fn enter(tty: File) -> io::Result<Self> {
        // crossterm reads keys from stdin if that is a terminal: let it be this one.
        rustix::stdio::dup2_stdin(&tty)?;
        let mode = Arc::new(Mode::new(tty.try_clone()?)?);
        restore_at_panic(mode.clone());
        let area = area(&tty);
        let backend = CrosstermBackend::new(BufWriter::new(tty));
        // A fixed size, as ratatui cannot handle an unknown one: see [`area`].
        let viewport = Viewport::Fixed(area);
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        let screen = Self { terminal, mode };
        screen.mode.enter()?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        let area = area(&self.mode.tty);
        (area.width.into(), area.height.into())
    }

    /// Adopts the present size of the terminal and redraws everything.
    pub(crate) fn resize(&mut self) -> io::Result<()> {
        self.terminal.resize(area(&self.mode.tty))
    }

    /// Draws what changed.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw)?;
        Ok(())
    }

    /// Restores the terminal.
    pub(crate) fn leave(&self) -> io::Result<()> {
        self.mode.leave()
    }

    /// Switches to the full screen again, after a shell had the terminal.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.mode.enter()?;
        self.resize()
    }

    /// # Errors
    /// The terminal hung up.
    pub(crate) fn check_there(&self) -> Result<()> {
        let there = tcgetattr(&self.mode.tty);
        there.context("the terminal is gone")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The buffer must not be flushed after the screen is left.
        let _ = self.terminal.backend_mut().flush();
        // If the terminal is gone there is nothing to restore.
        let _ = self.mode.leave();
    }
}

fn area(tty: &File) -> Rect {
    let size = tcgetwinsize(tty).ok();
    let or = |reported: Option<u16>, usual| reported.filter(|it| *it > 0).unwrap_or(usual);
    let columns = or(size.map(|it| it.ws_col), USUAL_COLUMNS);
    let rows = or(size.map(|it| it.ws_row), USUAL_ROWS);
    Rect::new(0, 0, columns, rows)
}

/// Restores the terminal before a panic prints its message.
fn restore_at_panic(mode: Arc<Mode>) {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // There is nothing to do if that fails.
        let _ = mode.leave();
        tell(panic);
    }));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use std::io::Read;

    /// A terminal, and the side that sees what is written to it.
    fn pty() -> (File, File) {
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&outer).unwrap();
        unlockpt(&outer).unwrap();
        let name = ptsname(&outer, Vec::new()).unwrap();
        let inner = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap());
        (inner.unwrap(), File::from(outer))
    }

    #[test]
    fn a_panic_turns_the_terminal_back_before_it_is_told() {
        let (inner, mut outer) = pty();
        let mode = Arc::new(Mode::new(inner.try_clone().unwrap()).unwrap());
        mode.enter().unwrap();
        let is_raw = || {
            !tcgetattr(&inner)
                .unwrap()
                .local_modes
                .contains(LocalModes::ICANON)
        };
        assert!(is_raw());
        restore_at_panic(mode.clone());
        let ended = std::thread::spawn(|| panic!("on purpose")).join();
        assert!(ended.is_err() && !is_raw());
        let mut written = String::new();
        while !written.contains("\u{1b}[?1049l") {
            let mut more = [0; 256];
            let count = outer.read(&mut more).unwrap();
            written.push_str(str::from_utf8(&more[..count]).unwrap());
        }
        assert!(written.starts_with("\u{1b}[?1049h"), "{written:?}");
        for off in ["?1000l", "?1006l", "?2004l"] {
            assert!(written.contains(&format!("\u{1b}[{off}")), "{written:?}");
        }
        mode.leave().unwrap();
    }

    #[test]
    fn a_terminal_without_a_size_has_the_usual_one() {
        let (inner, _outer) = pty();
        assert_eq!(area(&inner), Rect::new(0, 0, 80, 24));
    }
}
