//! Draws the screen: a pure function of the state.
//!
//! Knows no terminal, and keys only by their names.

use bk_cli::Tone;
use bk_cli::units::human_size;
use bk_schema::visible::visible;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use ratatui::style::{Color, Modifier, Style};

use crate::cells::{Candidate, Field};
use crate::columns::{FittedColumn, MARKS_WIDTH, fitting};
use crate::files::{Entry, Files, Kind, Progress};
use crate::keys::{Place, hints};
use crate::list::List;
use crate::marks::Mark;
use crate::page::{Page, words};
use crate::state::{State, View};
use crate::text::{fit, part, tail, width_of};

const PROMPT: &str = "Find: ";
const NOTHING_FOUND: &str =
    "Nothing matches what is typed. Backspace erases its last letter, Ctrl-U all of it.";

/// The columns of a listing before the name.
const SIZE_WIDTH: usize = 8;
const TIME_WIDTH: usize = 16;
const DATE_WIDTH: usize = 10;
/// A column is shown where the name keeps so much room beside it.
const NAME_BESIDE_TIME: usize = 30;
const NAME_BESIDE_SIZE: usize = 16;

/// Draws the whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State) {
    let mut lines = Lines {
        width: usize::from(frame.area().width),
        height: usize::from(frame.area().height),
        buffer: frame.buffer_mut(),
        next: 0,
        is_colour: state.is_colour,
    };
    if let Some(header) = &state.header {
        lines.add(&visible(header), BOLD);
    }
    let cursor = match (&state.keys, &state.view) {
        (Some(page), _) => {
            lines.add("Keys", BOLD);
            lines.page(page, state.rows());
            None
        }
        (None, View::List) => Some(list(&mut lines, state)),
        (None, View::Record(page)) => {
            lines.add(&title(state, "Record of"), BOLD);
            lines.page(page, state.rows());
            None
        }
        (None, View::Inside(files)) => {
            lines.add(&title(state, "Inside"), BOLD);
            Some(inside(&mut lines, state, files))
        }
    };
    lines.footer(&footer(state, lines.width));
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const PLAIN: Style = Style::new();

/// Draws the list and returns the position of the text cursor.
fn list(lines: &mut Lines<'_>, state: &State) -> Position {
    let cursor = lines.prompt(&state.list.typed);
    let columns = fitting(lines.width, &state.widths);
    let heads = columns.iter().map(|it| (it.title.to_owned(), BOLD));
    lines.row("  ", &columns, heads, PLAIN);
    let last = lines.next + state.rows();
    for (is_cursor, at) in state.list.on_screen(state.rows()) {
        let Some(item) = state.items.get(at) else {
            continue;
        };
        let mark = mark(is_cursor, state.marks.of(at));
        let is_colour = lines.is_colour && !is_cursor;
        let cells = columns
            .iter()
            .map(|it| cell(item, it.field, state, is_colour));
        lines.row(mark, &columns, cells, style(is_cursor));
    }
    if state.list.shown().is_empty() {
        lines.message(NOTHING_FOUND, last);
    }
    lines.next = last;
    lines.add(&state.current().map(full).unwrap_or_default(), PLAIN);
    cursor
}

/// Draws a listing and returns the position of the text cursor.
fn inside(lines: &mut Lines<'_>, state: &State, files: &Files) -> Position {
    let cursor = lines.prompt(&files.list.typed);
    let columns = entry_columns(lines.width);
    let heads = [format!("{:>SIZE_WIDTH$}", "SIZE"), "CHANGED".to_owned()];
    let heads = placed(heads, columns);
    lines.entry("  ", &heads, "NAME", BOLD);
    let last = lines.next + state.rows();
    for (is_cursor, at) in files.list.on_screen(state.rows()) {
        let Some(entry) = files.entries.get(at) else {
            continue;
        };
        let own = match state.marks.has_file(files.of, at) {
            true => Mark::Whole,
            false => Mark::Nothing,
        };
        let cells = entry_cells(entry, columns, &state.zone);
        let name = entry.shown();
        let name = part(&name, files.left, width_of(&name));
        lines.entry(mark(is_cursor, own), &cells, &name, style(is_cursor));
    }
    if files.list.shown().is_empty() {
        let text = match (files.entries.is_empty(), files.progress) {
            (false, _) => NOTHING_FOUND,
            (true, Progress::UnderWay) => "Reading what is inside ...",
            (true, _) => "There is nothing inside.",
        };
        lines.message(text, last);
    }
    lines.next = last;
    for line in files.notice(lines.width) {
        let style = match lines.is_colour {
            true => PLAIN.fg(Color::Red),
            false => PLAIN,
        };
        lines.add(&line, style);
    }
    let name = files.current().map(|(_, entry)| entry.shown());
    lines.add(&end_of(&name.unwrap_or_default(), lines.width), PLAIN);
    cursor
}

/// The widths of size and time; 0 where there is no room for it.
fn entry_columns(width: usize) -> [usize; 2] {
    let left = width.saturating_sub(MARKS_WIDTH + SIZE_WIDTH + 1);
    if left >= TIME_WIDTH + 1 + NAME_BESIDE_TIME {
        [SIZE_WIDTH, TIME_WIDTH]
    } else if left >= DATE_WIDTH + 1 + NAME_BESIDE_SIZE {
        [SIZE_WIDTH, DATE_WIDTH]
    } else if left >= NAME_BESIDE_SIZE {
        [SIZE_WIDTH, 0]
    } else {
        [0, 0]
    }
}

fn entry_cells(entry: &Entry, columns: [usize; 2], zone: &TimeZone) -> Vec<(String, usize)> {
    let size = match entry.kind {
        Kind::File => human_size(entry.size),
        _ => "-".to_owned(),
    };
    let time = entry.mtime.map_or("-".to_owned(), |time| {
        let local = time.to_zoned(zone.clone());
        let text = local.strftime("%Y-%m-%d %H:%M").to_string();
        text.chars().take(columns[1]).collect()
    });
    placed([format!("{size:>SIZE_WIDTH$}"), time], columns)
}

/// The cells for which there is room, with their widths.
fn placed(cells: [String; 2], columns: [usize; 2]) -> Vec<(String, usize)> {
    let cells = cells.into_iter().zip(columns);
    cells.filter(|(_, width)| *width > 0).collect()
}

fn mark(is_cursor: bool, mark: Mark) -> &'static str {
    match (is_cursor, mark) {
        (true, Mark::Nothing) => "> ",
        (true, Mark::Whole) => ">*",
        (true, Mark::Files) => ">+",
        (false, Mark::Nothing) => "  ",
        (false, Mark::Whole) => " *",
        (false, Mark::Files) => " +",
    }
}

fn style(is_cursor: bool) -> Style {
    match is_cursor {
        true => PLAIN.add_modifier(Modifier::REVERSED),
        false => PLAIN,
    }
}

/// The text, or its end: what matters most of a path.
fn end_of(text: &str, width: usize) -> String {
    match width_of(text) <= width {
        true => text.to_owned(),
        false => format!("\u{2026}{}", tail(text, width.saturating_sub(1))),
    }
}

fn cell(item: &Candidate, field: Field, state: &State, is_colour: bool) -> (String, Style) {
    let cell = item.cell(field, state.now);
    let style = match cell.tone {
        Tone::Bad if is_colour => PLAIN.fg(Color::Red),
        Tone::Warn if is_colour => PLAIN.fg(Color::Yellow),
        _ => PLAIN,
    };
    (cell.text, style)
}

/// The details that the columns may have no room for.
fn full(item: &Candidate) -> String {
    let backup = &item.listed.backup;
    let mut text = format!("{} {}", item.time, backup.backup_name);
    if let Some(description) = &backup.description {
        text.push_str(&format!(": {description}"));
    }
    visible(&text)
}

fn title(state: &State, what: &str) -> String {
    let name = state.current().map(|item| &item.listed.backup.backup_name);
    format!("{what} {}", name.map(String::as_str).unwrap_or_default())
}

/// The number of items and of marks, and the keys that matter most.
fn footer(state: &State, width: usize) -> String {
    let place = state.place();
    let count = match (place, &state.view) {
        (Place::List, _) => list_count(state),
        (Place::Inside, View::Inside(files)) => inside_count(state, files),
        _ => String::new(),
    };
    let room = width.saturating_sub(width_of(&count));
    let chosen = state.chosen_count();
    format!("{count}{}", hints(place, chosen, !state.only_one, room))
}

fn list_count(state: &State) -> String {
    let shown = state.list.shown();
    let mut count = format!("{} of {}", shown.len(), state.items.len());
    match state.marks.backup_count() {
        0 => {}
        marked => count.push_str(&format!(", {marked} marked")),
    }
    match state.marks.file_count() {
        0 => {}
        1 => count.push_str(", 1 file marked"),
        files => count.push_str(&format!(", {files} files marked")),
    }
    let marked = state.marks.backups();
    count + &hidden(&state.list, marked.into_iter()) + " | "
}

fn inside_count(state: &State, files: &Files) -> String {
    let (shown, all) = (files.list.shown().len(), files.entries.len());
    let mut count = match files.progress {
        Progress::UnderWay => format!("{shown} of {all} so far ..."),
        Progress::Done => format!("{shown} of {all}"),
        Progress::Cut => {
            let id = state.current().map_or(0, |item| item.listed.backup.id);
            format!("{shown} of the first {all}; bk-ls --files {id} has all")
        }
    };
    let marked = state.marks.files_of(files.of);
    let marked: Vec<_> = marked.map(|(at, _)| at).collect();
    if !marked.is_empty() {
        count.push_str(&format!(", {} marked", marked.len()));
    }
    count + &hidden(&files.list, marked.into_iter()) + " | "
}

/// How many of the marked ones the typed text hides.
fn hidden(list: &List, marked: impl Iterator<Item = usize>) -> String {
    let is_narrowed = !list.typed.is_empty();
    match marked.filter(|at| is_narrowed && !list.shows(*at)).count() {
        0 => String::new(),
        hidden => format!(" ({hidden} hidden)"),
    }
}

/// Draws lines from the top of the screen down.
struct Lines<'a> {
    buffer: &'a mut Buffer,
    width: usize,
    height: usize,
    next: usize,
    is_colour: bool,
}

impl Lines<'_> {
    fn add(&mut self, text: &str, style: Style) {
        let text = fit(text, self.width);
        self.put(0, self.next, &text, self.width, style);
        self.next += 1;
    }

    /// Draws what is typed and returns the position of the text cursor.
    fn prompt(&mut self, typed: &str) -> Position {
        let room = self.width.saturating_sub(PROMPT.len() + 1);
        let typed = tail(&visible(typed), room);
        let row = self.next.min(self.height.saturating_sub(1));
        self.add(&format!("{PROMPT}{typed}"), PLAIN);
        let column = (PROMPT.len() + width_of(&typed)).min(self.width.saturating_sub(1));
        Position::new(to_u16(column), to_u16(row))
    }

    /// Draws text in place of a list, above the line `last`.
    fn message(&mut self, text: &str, last: usize) {
        let room = last.saturating_sub(self.next);
        for line in words(text, self.width.saturating_sub(MARKS_WIDTH))
            .iter()
            .take(room)
        {
            self.add(&format!("{:MARKS_WIDTH$}{line}", ""), PLAIN);
        }
    }

    /// Draws an entry: cells with their widths, and the name in what is left.
    fn entry(&mut self, mark: &str, cells: &[(String, usize)], name: &str, style: Style) {
        let mut text = mark.to_owned();
        for (cell, width) in cells {
            text.push_str(&format!("{cell:width$} "));
        }
        let room = self.width.saturating_sub(width_of(&text));
        text.push_str(&fit(name, room));
        self.put(0, self.next, &" ".repeat(self.width), self.width, style);
        self.put(0, self.next, &text, self.width, style);
        self.next += 1;
    }

    fn row(
        &mut self,
        mark: &str,
        columns: &[FittedColumn],
        cells: impl Iterator<Item = (String, Style)>,
        style: Style,
    ) {
        self.put(0, self.next, &" ".repeat(self.width), self.width, style);
        self.put(0, self.next, mark, MARKS_WIDTH, style);
        let mut x = MARKS_WIDTH;
        for (column, (text, own)) in columns.iter().zip(cells) {
            let text = fit(&text, column.width);
            let space = match column.is_right() {
                true => column.width - width_of(&text),
                false => 0,
            };
            self.put(x + space, self.next, &text, column.width, style.patch(own));
            x += column.width + 1;
        }
        self.next += 1;
    }

    fn page(&mut self, page: &Page, rows: usize) {
        let last = self.next + rows;
        for line in page.lines.iter().skip(page.top).take(rows) {
            self.add(line, PLAIN);
        }
        self.next = last;
    }

    /// Draws the last line of the screen.
    fn footer(&mut self, text: &str) {
        if self.height > 1 {
            self.next = self.height - 1;
            self.put(0, self.next, &" ".repeat(self.width), self.width, PLAIN);
            self.add(text, BOLD);
        }
    }

    fn put(&mut self, x: usize, y: usize, text: &str, width: usize, style: Style) {
        if x < self.width && y < self.height {
            let width = width.min(self.width - x);
            self.buffer
                .set_stringn(to_u16(x), to_u16(y), text, width, style);
        }
    }
}

fn to_u16(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
