//! The state of the screen, and how each key and the mouse change it. Pure functions.
//!
//! Knows no terminal, no catalog and no child process; requests what needs them by a [`Step`].

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cells::Candidate;
use crate::chosen::{Chosen, File};
use crate::columns::Widths;
use crate::events::{Inside, Turn};
use crate::files::{Files, Progress};
use crate::filter::Filter;
use crate::keys::Place;
use crate::list::{List, Typing, WHEEL_ROWS};
use crate::marks::Marks;
use crate::page::Page;

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
#[derive(Debug, Default)]
pub(crate) enum View {
    #[default]
    List,
    /// The record under the cursor.
    Record(Page),
    /// What is inside it.
    Inside(Files),
}

/// The state.
pub(crate) struct State {
    pub(crate) items: Vec<Candidate>,
    pub(crate) widths: Widths,
    pub(crate) list: List,
    pub(crate) marks: Marks,
    pub(crate) view: View,
    /// The page of keys, over the view.
    pub(crate) keys: Option<Page>,
    pub(crate) header: Option<String>,
    pub(crate) only_one: bool,
    pub(crate) is_colour: bool,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
    width: usize,
    height: usize,
    filter: Filter,
}

impl State {
    /// A list of these backups, newest first.
    pub(crate) fn new(items: Vec<Candidate>, now: Timestamp) -> Self {
        Self {
            widths: Widths::of(&items, now),
            list: List::of(items.len()),
            items,
            marks: Marks::default(),
            view: View::List,
            keys: None,
            header: None,
            only_one: false,
            is_colour: false,
            now,
            zone: TimeZone::UTC,
            width: 0,
            height: 0,
            filter: Filter::default(),
        }
    }

    /// The backup under the cursor of the list.
    pub(crate) fn current(&self) -> Option<&Candidate> {
        self.items.get(self.list.current()?)
    }

    /// What is on the screen.
    pub(crate) fn place(&self) -> Place {
        match (&self.keys, &self.view) {
            (Some(_), _) => Place::Keys,
            (None, View::List) => Place::List,
            (None, View::Record(_)) => Place::Record,
            (None, View::Inside(_)) => Place::Inside,
        }
    }

    /// How many lines Enter chooses.
    pub(crate) fn chosen_count(&self) -> usize {
        let is_there = match &self.view {
            View::Inside(files) => files.current().is_some(),
            _ => self.current().is_some(),
        };
        match self.marks.backup_count() + self.marks.file_count() {
            0 => usize::from(is_there),
            count => count,
        }
    }

    /// What is marked, else what is under the cursor; of the newest backup first.
    pub(crate) fn into_chosen(self) -> Vec<Chosen> {
        let mut marks = self.marks;
        if marks == Marks::default() {
            match (&self.view, self.list.current()) {
                (View::Inside(files), _) => {
                    if let Some((at, entry)) = files.current() {
                        marks.toggle_file(files.of, at, &entry.name);
                    }
                }
                (_, Some(at)) => marks.toggle(at),
                (_, None) => {}
            }
        }
        let backups = marks.backups();
        let items = self.items.into_iter().enumerate();
        let chosen = items.filter(|(at, _)| backups.contains(at));
        let lines = chosen.flat_map(|(at, item)| {
            let files = marks.files_of(at);
            let files: Vec<_> = files
                .map(|(_, name)| Chosen::File(File::new(&item.listed, name)))
                .collect();
            match files.is_empty() {
                true => vec![Chosen::Backup(Box::new(item.listed))],
                false => files,
            }
        });
        lines.collect()
    }

    /// The lines of the screen for the list or a page: all but headers and footers.
    pub(crate) fn rows(&self) -> usize {
        let around = match (self.place(), &self.view) {
            (Place::List, _) => 4,
            (Place::Inside, View::Inside(files)) => 5 + files.notice(self.width).len(),
            _ => 2,
        };
        let header = usize::from(self.header.is_some());
        self.height.saturating_sub(header + around)
    }

    /// Sets the size of the screen.
    pub(crate) fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        if let View::Record(Page { top, .. }) = self.view {
            self.show_record();
            if let View::Record(page) = &mut self.view {
                page.top = top;
            }
        }
        if let Some(Page { top, .. }) = self.keys {
            let page = Page::of_keys(width);
            self.keys = Some(Page { top, ..page });
        }
        self.settle();
    }

    /// Adds a part of the listing.
    pub(crate) fn add_inside(&mut self, part: Inside) {
        if let View::Inside(files) = &mut self.view {
            match part {
                Inside::Entries(entries) => files.add(entries, &mut self.filter),
                Inside::Cut => files.progress = Progress::Cut,
                Inside::End(problems) => files.end(problems),
            }
        }
        self.settle();
    }

    /// Adds pasted text to the typed text, without control characters.
    pub(crate) fn paste(&mut self, text: &str) {
        if self.keys.is_none() {
            let typed: String = text.chars().filter(|c| !c.is_control()).collect();
            self.search(&Typing::More(&typed));
            self.settle();
        }
    }

    /// Scrolls what is on the screen.
    pub(crate) fn turn_wheel(&mut self, turn: Turn) {
        let by = match turn {
            Turn::Up => -WHEEL_ROWS,
            Turn::Down => WHEEL_ROWS,
        };
        let rows = self.rows();
        match (&mut self.keys, &mut self.view) {
            (None, View::List) => self.list.scroll(by, rows),
            (None, View::Inside(files)) => files.list.scroll(by, rows),
            _ => self.step(by),
        }
        self.settle();
    }

    /// Moves the cursor to a row of the screen.
    pub(crate) fn click(&mut self, row: usize) {
        let header = usize::from(self.header.is_some());
        let rows = self.rows();
        let at = |first: usize| row.checked_sub(header + first).filter(|it| *it < rows);
        match (&self.keys, &mut self.view) {
            (None, View::List) => at(2).into_iter().for_each(|it| self.list.point(it)),
            (None, View::Inside(files)) => at(3).into_iter().for_each(|it| files.list.point(it)),
            _ => {}
        }
    }

    /// Handles a key.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Step {
        let step = if key.modifiers.contains(KeyModifiers::CONTROL) {
            self.press_control(key.code)
        } else if key.modifiers.contains(KeyModifiers::ALT) {
            Step::Stay
        } else {
            match self.place() {
                Place::Keys => self.press_in_keys(key.code),
                Place::List => self.press_in_list(key.code),
                Place::Record => self.press_in_record(key.code),
                Place::Inside => self.press_inside(key.code),
            }
        };
        self.settle();
        step
    }

    fn press_control(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Char('c') => return Step::Leave,
            KeyCode::Char('z') => return Step::Suspend,
            KeyCode::Char('l') => return Step::Redraw,
            KeyCode::Char('p') => self.step(-1),
            KeyCode::Char('n') => self.step(1),
            KeyCode::Char('u') if self.keys.is_none() => self.search(&Typing::EraseAll),
            KeyCode::Char('h') if self.keys.is_none() => self.search(&Typing::EraseLast),
            _ => {}
        }
        Step::Stay
    }

    /// What moves scrolls; any other key goes back, as nothing is seen of what it would do.
    fn press_in_keys(&mut self, code: KeyCode) -> Step {
        if !self.go(code) {
            self.keys = None;
        }
        Step::Stay
    }

    fn press_in_list(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Esc => return Step::Leave,
            KeyCode::Tab => self.show_record(),
            other => return self.press_anywhere(other),
        }
        Step::Stay
    }

    fn press_in_record(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Esc | KeyCode::Left => self.view = View::List,
            KeyCode::Tab | KeyCode::Right => {
                if let Some(at) = self.list.current() {
                    self.view = View::Inside(Files::new(at));
                }
                let id = self.current().map(|item| item.listed.backup.id);
                return id.map_or(Step::Stay, Step::ListInside);
            }
            other => return self.press_anywhere(other),
        }
        Step::Stay
    }

    fn press_inside(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Esc => {
                self.show_record();
                return Step::StopInside;
            }
            KeyCode::Tab => {
                self.view = View::List;
                return Step::StopInside;
            }
            KeyCode::Left | KeyCode::Right => {
                if let View::Inside(files) = &mut self.view {
                    match code {
                        KeyCode::Left => files.scroll_left(),
                        _ => files.scroll_right(),
                    }
                }
            }
            other => return self.press_anywhere(other),
        }
        Step::Stay
    }

    /// What a key does in the list, a record, and what is inside.
    fn press_anywhere(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Enter if self.chosen_count() > 0 => return Step::Choose,
            // It need not be typed: a search finds what has further letters between the typed ones.
            KeyCode::Char('?') => self.keys = Some(Page::of_keys(self.width)),
            KeyCode::Char(' ') => self.toggle_mark(),
            KeyCode::Char(c) => self.search(&Typing::More(c.encode_utf8(&mut [0; 4]))),
            KeyCode::Backspace => self.search(&Typing::EraseLast),
            other => {
                self.go(other);
            }
        }
        Step::Stay
    }

    /// Moves, if it is a key that does.
    fn go(&mut self, code: KeyCode) -> bool {
        let page = isize::try_from(self.rows().saturating_sub(1).max(1)).unwrap_or(1);
        self.step(match code {
            KeyCode::Up => -1,
            KeyCode::Down => 1,
            KeyCode::PageUp => -page,
            KeyCode::PageDown => page,
            KeyCode::Home => isize::MIN,
            KeyCode::End => isize::MAX,
            _ => return false,
        });
        true
    }

    /// Moves the cursor or the page; [`State::settle`] corrects the bounds.
    fn step(&mut self, by: isize) {
        match (&mut self.keys, &mut self.view) {
            (Some(page), _) | (None, View::Record(page)) => {
                page.top = page.top.saturating_add_signed(by);
            }
            (None, View::List) => self.list.step(by),
            (None, View::Inside(files)) => files.list.step(by),
        }
    }

    /// Marks what is under the cursor, and moves on in a list.
    fn toggle_mark(&mut self) {
        if self.only_one {
            return;
        }
        match &self.view {
            View::Inside(files) => {
                if let Some((at, entry)) = files.current() {
                    self.marks.toggle_file(files.of, at, &entry.name);
                }
            }
            _ => {
                if let Some(at) = self.list.current() {
                    self.marks.toggle(at);
                }
            }
        }
        if !matches!(self.view, View::Record(_)) {
            self.step(1);
        }
    }

    fn search(&mut self, typing: &Typing<'_>) {
        match &mut self.view {
            View::List => self.list.search(typing, &mut self.filter, &self.items),
            View::Inside(files) => files.list.search(typing, &mut self.filter, &files.entries),
            View::Record(_) => {}
        }
    }

    fn show_record(&mut self) {
        if let Some(item) = self.current() {
            self.view = View::Record(Page::of_record(&item.listed, self.width));
        }
    }

    /// Keeps the cursor inside the list and the screen, and a page inside its lines.
    fn settle(&mut self) {
        let rows = self.rows();
        match (&mut self.keys, &mut self.view) {
            (Some(page), _) | (None, View::Record(page)) => page.settle(rows),
            (None, View::List) => self.list.settle(rows),
            (None, View::Inside(files)) => files.list.settle(rows),
        }
    }
}
