//! The state of the list, and how each key changes it. Pure functions.
//!
//! Knows no terminal, no catalog and no child process; requests what needs them by a [`Step`].

use std::collections::BTreeSet;

use bk_cli::detail::{NAME_WIDTH, fields};
use bk_cli::listing::Listed;
use bk_schema::visible::visible;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;

use crate::cells::Candidate;
use crate::columns::Widths;
use crate::events::Inside;
use crate::filter::Filter;
use bk_cli::text::wrap;

/// The columns of one step sideways, and their limit.
const SIDESTEP: usize = 16;
const SIDE_MAX: usize = 4096;

/// What to do after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Redraw what changed.
    Stay,
    /// End with the choice.
    Choose,
    /// End without a choice.
    Leave,
    /// List what is inside the backup with this id.
    ListInside(i64),
    /// Stop that listing.
    StopInside,
    /// Suspend the program.
    Suspend,
    /// Redraw the whole screen.
    Redraw,
}

/// What is on the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    List,
    /// The record under the cursor.
    Record(Page),
    /// What is inside it.
    Inside(Page, Progress),
}

/// Whether the listing is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    UnderWay,
    Cut,
    Done,
}

/// Lines to scroll through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page {
    pub(crate) lines: Vec<String>,
    /// The first line on the screen.
    pub(crate) top: usize,
    /// The first column on the screen.
    pub(crate) left: usize,
}

/// The list.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) items: Vec<Candidate>,
    pub(crate) widths: Widths,
    /// The backups that match the typed text, as indices into `items`.
    pub(crate) shown: Vec<usize>,
    pub(crate) typed: String,
    /// An index into `shown`.
    pub(crate) cursor: usize,
    /// The first of `shown` on the screen.
    pub(crate) top: usize,
    /// Indices into `items`.
    pub(crate) marked: BTreeSet<usize>,
    pub(crate) view: View,
    pub(crate) header: Option<String>,
    pub(crate) only_one: bool,
    pub(crate) is_colour: bool,
    pub(crate) now: Timestamp,
    width: usize,
    height: usize,
    filter: Filter,
}

impl State {
    /// A list of these backups, newest first.
    pub(crate) fn new(items: Vec<Candidate>, now: Timestamp) -> Self {
        Self {
            widths: Widths::of(&items, now),
            shown: (0..items.len()).collect(),
            items,
            now,
            ..Self::default()
        }
    }

    /// The backup under the cursor.
    pub(crate) fn current(&self) -> Option<&Candidate> {
        self.items.get(*self.shown.get(self.cursor)?)
    }

    /// How many backups Enter chooses.
    pub(crate) fn chosen_count(&self) -> usize {
        match self.marked.len() {
            0 => usize::from(self.current().is_some()),
            count => count,
        }
    }

    /// The marked backups, else the one under the cursor; newest first.
    pub(crate) fn into_chosen(self) -> Vec<Listed> {
        let mut chosen = self.marked;
        if chosen.is_empty() {
            chosen.extend(self.shown.get(self.cursor));
        }
        let all = self.items.into_iter().enumerate();
        let chosen = all.filter(|(at, _)| chosen.contains(at));
        chosen.map(|(_, item)| item.listed).collect()
    }

    /// The lines of the screen for the list or a page: all but headers and footers.
    pub(crate) fn rows(&self) -> usize {
        let header = usize::from(self.header.is_some());
        let around = match self.view {
            View::List => 4,
            _ => 2,
        };
        self.height.saturating_sub(header + around)
    }

    /// Sets the size of the screen.
    pub(crate) fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        if let View::Record(page) = &self.view {
            let top = page.top;
            self.show_record(top);
        }
        self.settle();
    }

    /// Adds a part of the listing.
    pub(crate) fn add_inside(&mut self, part: Inside) {
        if let View::Inside(page, progress) = &mut self.view {
            match part {
                Inside::Lines(lines) => page.lines.extend(lines.iter().map(|line| visible(line))),
                Inside::Cut => *progress = Progress::Cut,
                Inside::End => *progress = Progress::Done,
            }
        }
    }

    /// Adds pasted text to the typed text, without control characters.
    pub(crate) fn paste(&mut self, text: &str) {
        if self.view == View::List {
            let typed = text.chars().filter(|c| !c.is_control());
            let typed: String = typed.collect();
            self.type_more(&typed);
            self.settle();
        }
    }

    /// Handles a key.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Step {
        let step = if key.modifiers.contains(KeyModifiers::CONTROL) {
            self.press_control(key.code)
        } else if key.modifiers.contains(KeyModifiers::ALT) {
            Step::Stay
        } else {
            match self.view {
                View::List => self.press_in_list(key.code),
                _ => self.press_in_page(key.code),
            }
        };
        self.settle();
        step
    }

    fn press_control(&mut self, code: KeyCode) -> Step {
        let is_list = self.view == View::List;
        match code {
            KeyCode::Char('c') => return Step::Leave,
            KeyCode::Char('z') => return Step::Suspend,
            KeyCode::Char('l') => return Step::Redraw,
            KeyCode::Char('p') => self.step(-1),
            KeyCode::Char('n') => self.step(1),
            KeyCode::Char('u') if is_list => self.set_typed(String::new()),
            KeyCode::Char('h') if is_list => self.erase_last(),
            _ => {}
        }
        Step::Stay
    }

    fn press_in_list(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Esc => return Step::Leave,
            KeyCode::Enter if self.chosen_count() > 0 => return Step::Choose,
            KeyCode::Tab => self.show_record(0),
            KeyCode::Char(' ') if self.only_one => {}
            KeyCode::Char(' ') => {
                self.toggle_mark();
                self.step(1);
            }
            KeyCode::Char(c) => self.type_more(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace => self.erase_last(),
            other => self.go(other),
        }
        Step::Stay
    }

    fn press_in_page(&mut self, code: KeyCode) -> Step {
        let is_record = matches!(self.view, View::Record(_));
        match code {
            KeyCode::Esc | KeyCode::Tab if is_record => self.view = View::List,
            KeyCode::Esc | KeyCode::Tab => {
                self.show_record(0);
                return Step::StopInside;
            }
            KeyCode::Char('f') | KeyCode::Right if is_record => {
                self.view = View::Inside(Page::default(), Progress::UnderWay);
                let id = self.current().map(|item| item.listed.backup.id);
                return id.map_or(Step::Stay, Step::ListInside);
            }
            KeyCode::Enter if self.chosen_count() > 0 => return Step::Choose,
            KeyCode::Char(' ') => self.toggle_mark(),
            KeyCode::Left => self.sidestep(|left| left.saturating_sub(SIDESTEP)),
            KeyCode::Right => self.sidestep(|left| (left + SIDESTEP).min(SIDE_MAX)),
            other => self.go(other),
        }
        Step::Stay
    }

    fn go(&mut self, code: KeyCode) {
        let page = isize::try_from(self.rows().saturating_sub(1).max(1)).unwrap_or(1);
        match code {
            KeyCode::Up => self.step(-1),
            KeyCode::Down => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            _ => {}
        }
    }

    /// Moves the cursor or the page; [`State::settle`] corrects the bounds.
    fn step(&mut self, by: isize) {
        let at = match &mut self.view {
            View::List => &mut self.cursor,
            View::Record(page) | View::Inside(page, _) => &mut page.top,
        };
        *at = at.saturating_add_signed(by);
    }

    fn sidestep(&mut self, to: impl FnOnce(usize) -> usize) {
        if let View::Inside(page, _) = &mut self.view {
            page.left = to(page.left);
        }
    }

    fn toggle_mark(&mut self) {
        if self.only_one {
            return;
        }
        if let Some(at) = self.shown.get(self.cursor)
            && !self.marked.remove(at)
        {
            self.marked.insert(*at);
        }
    }

    fn type_more(&mut self, more: &str) {
        self.typed.push_str(more);
        // More letters never match more.
        let among = std::mem::take(&mut self.shown);
        self.shown = self
            .filter
            .narrow(&self.typed, &self.items, among.into_iter());
        (self.cursor, self.top) = (0, 0);
    }

    fn erase_last(&mut self) {
        let mut typed = self.typed.clone();
        if typed.pop().is_some() {
            self.set_typed(typed);
        }
    }

    fn set_typed(&mut self, typed: String) {
        self.typed = typed;
        let among = 0..self.items.len();
        self.shown = self.filter.narrow(&self.typed, &self.items, among);
        (self.cursor, self.top) = (0, 0);
    }

    fn show_record(&mut self, top: usize) {
        let Some(item) = self.current() else {
            return;
        };
        let room = self.width.saturating_sub(NAME_WIDTH + 2);
        let line = |(name, value): (String, String)| {
            let pieces = wrap(&visible(&value), room);
            let names = std::iter::once(name).chain(std::iter::repeat(String::new()));
            let lines = names.zip(pieces);
            lines.map(|(name, piece)| format!("{name:<NAME_WIDTH$}  {piece}"))
        };
        let fields = fields(&item.listed);
        let lines = fields.into_iter().flat_map(line).collect();
        self.view = View::Record(Page {
            lines,
            top,
            left: 0,
        });
    }

    /// Keeps the cursor inside the list and the screen, and the page inside its lines.
    fn settle(&mut self) {
        let rows = self.rows().max(1);
        match &mut self.view {
            View::List => {
                self.cursor = self.cursor.min(self.shown.len().saturating_sub(1));
                let lowest = (self.cursor + 1).saturating_sub(rows);
                // Do not leave rows empty while there are more backups.
                let highest = self.cursor.min(self.shown.len().saturating_sub(rows));
                self.top = self.top.min(highest).max(lowest);
            }
            View::Record(page) | View::Inside(page, _) => {
                page.top = page.top.min(page.lines.len().saturating_sub(rows));
            }
        }
    }
}
