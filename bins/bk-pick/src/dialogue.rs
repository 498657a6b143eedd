//! The event loop of the list: handles events one by one, and signals between them.
//!
//! Connects the pure parts (`state`, `screen`) with the terminal, the keys and the child process.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bk_store::{Home, Signals};
use rustix::process::{Signal, getpgrp, getpid, getsid, kill_current_process_group, kill_process};
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::flag;

use crate::chosen::Chosen;
use crate::events::{self, Event, Inside};
use crate::inside::Listing;
use crate::screen;
use crate::state::{State, Step};
use crate::terminal::Screen;

/// The longest delay until a signal is noticed.
const TICK: Duration = Duration::from_millis(100);
/// The number of further events that are handled before the screen is redrawn.
const AT_ONCE: usize = 256;

/// How the event loop ended.
pub(crate) enum End {
    /// With this choice.
    Chosen(Vec<Chosen>),
    /// By Esc or Ctrl-C.
    Left,
    /// By a signal.
    Signal(u8),
}

/// The state of the event loop.
pub(crate) struct Dialogue {
    home: Home,
    state: State,
    screen: Screen,
    signals: Signals,
    stops: Arc<AtomicBool>,
    goes_on: Arc<AtomicBool>,
    sender: SyncSender<Event>,
    receiver: Receiver<Event>,
    listing: Option<Listing>,
    runs: u64,
}

impl Dialogue {
    /// Takes over the terminal.
    pub(crate) fn begin(home: Home, tty: File, mut state: State) -> Result<Self> {
        let signals = Signals::watch()?;
        signals.hold();
        let (stops, goes_on) = (Arc::default(), Arc::default());
        flag::register(SIGTSTP, Arc::clone(&stops)).context("cannot watch for signals")?;
        flag::register(SIGCONT, Arc::clone(&goes_on)).context("cannot watch for signals")?;
        let screen = Screen::enter(tty).context("cannot use the terminal")?;
        let (width, height) = screen.size();
        state.resize(width, height);
        let (sender, receiver) = sync_channel(events::QUEUE);
        let keys = sender.clone();
        let reading = std::thread::Builder::new().spawn(move || events::read_keys(&keys));
        reading.context("cannot start a thread")?;
        Ok(Self {
            home,
            state,
            screen,
            signals,
            stops,
            goes_on,
            sender,
            receiver,
            listing: None,
            runs: 0,
        })
    }

    /// Runs the event loop, then restores the terminal.
    pub(crate) fn run(mut self) -> Result<End> {
        let step = self.until_end();
        if let Some(signal) = self.signals.caught() {
            return Ok(End::Signal(signal));
        }
        let step = step?;
        self.screen.leave().context("cannot restore the terminal")?;
        self.signals.release();
        Ok(match step {
            Step::Choose => End::Chosen(self.state.into_chosen()),
            _ => End::Left,
        })
    }

    /// Runs until something is chosen, the user leaves, or a signal arrives.
    fn until_end(&mut self) -> Result<Step> {
        loop {
            let state = &self.state;
            let drawn = self.screen.draw(|frame| screen::draw(frame, state));
            drawn.context("cannot draw on the terminal")?;
            let Some(first) = self.wait()? else {
                return Ok(Step::Leave);
            };
            let more: Vec<_> = self.receiver.try_iter().take(AT_ONCE).collect();
            for event in std::iter::once(first).chain(more) {
                let step = self.take(event)?;
                if matches!(step, Step::Choose | Step::Leave) {
                    return Ok(step);
                }
            }
        }
    }

    /// The next event; `None` if a signal ends the program.
    fn wait(&mut self) -> Result<Option<Event>> {
        loop {
            if self.signals.caught().is_some() {
                return Ok(None);
            }
            if self.stops.swap(false, Ordering::SeqCst) {
                self.stop(false)?;
                return Ok(Some(Event::Resized));
            }
            if self.goes_on.swap(false, Ordering::SeqCst) {
                // It was stopped by SIGSTOP, which cannot be caught, and a shell had the terminal.
                self.screen.resume().context("cannot use the terminal")?;
                return Ok(Some(Event::Resized));
            }
            match self.receiver.recv_timeout(TICK) {
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Timeout) => self.screen.check_there()?,
                Err(RecvTimeoutError::Disconnected) => bail!("no more keys can be read"),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Step> {
        let step = match event {
            Event::Key(key) => self.state.press(key),
            Event::Paste(text) => {
                self.state.paste(&text);
                Step::Stay
            }
            Event::Wheel(turn) => {
                self.state.turn_wheel(turn);
                Step::Stay
            }
            Event::Click(row) => {
                self.state.click(row.into());
                Step::Stay
            }
            Event::Resized => Step::Redraw,
            Event::Inside(run, part) => {
                if run == self.runs {
                    self.state.add_inside(part);
                }
                Step::Stay
            }
            Event::KeysEnded(error) => return Err(error).context("cannot read keys"),
        };
        match step {
            Step::Redraw => {
                self.screen
                    .resize()
                    .context("cannot draw on the terminal")?;
                let (width, height) = self.screen.size();
                self.state.resize(width, height);
            }
            Step::ListInside(id) => self.list_inside(id),
            Step::StopInside => self.stop_inside(),
            Step::Suspend => {
                self.stop(true)?;
                return self.take(Event::Resized);
            }
            Step::Stay | Step::Choose | Step::Leave => {}
        }
        Ok(step)
    }

    fn list_inside(&mut self, id: i64) {
        self.stop_inside();
        match Listing::start(&self.home, id, self.runs, self.sender.clone()) {
            Ok(listing) => self.listing = Some(listing),
            Err(error) => {
                let problem = format!("cannot run bk-ls: {error}");
                self.state.add_inside(Inside::End(vec![problem]));
            }
        }
    }

    /// Kills the listing; lines of it that are still queued are ignored.
    fn stop_inside(&mut self) {
        self.listing = None;
        self.runs += 1;
    }

    /// Restores the terminal and stops until SIGCONT. After Ctrl-Z the whole pipeline is stopped, as
    /// the terminal does it outside of raw mode.
    fn stop(&mut self, with_pipeline: bool) -> Result<()> {
        if !can_go_on() {
            return Ok(());
        }
        self.screen.leave().context("cannot restore the terminal")?;
        if with_pipeline {
            kill_current_process_group(Signal::TSTP).context("cannot stop")?;
        }
        // SIGTSTP is caught, so by SIGSTOP.
        kill_process(getpid(), Signal::STOP).context("cannot stop")?;
        self.stops.store(false, Ordering::SeqCst);
        self.goes_on.store(false, Ordering::SeqCst);
        self.screen.resume().context("cannot use the terminal")
    }
}

/// Whether a shell with job control runs it, which puts each pipeline into its own process group.
/// Without one nobody would send SIGCONT.
fn can_go_on() -> bool {
    getsid(None).is_ok_and(|session| session != getpgrp())
}
