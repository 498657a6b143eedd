//! Draws the screen: a pure function of the state.
//!
//! Knows no terminal, and keys only by their names.

use bk_cli::Tone;
use bk_cli::text::{fit_middle, part, tail, width_of};
use bk_cli::units::human_size;
use bk_schema::visible::visible;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::Position;
use ratatui::style::Color;

use crate::cells::{Candidate, Field};
use crate::columns::{FittedColumn, MARKS_WIDTH, fitting};
use crate::files::{Entry, Files, Kind, Progress};
use crate::keys::{Place, hints};
use crate::lines::{BOLD, Lines, PLAIN, PlacedCell, Row};
use crate::list::List;
use crate::marks::Mark;
use crate::page::Page;
use crate::state::{State, View};

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
    let mut lines = Lines::new(frame, state.is_colour);
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

/// Draws the list and returns the position of the text cursor.
fn list(lines: &mut Lines<'_>, state: &State) -> Position {
    let cursor = lines.prompt(&state.list.typed);
    let columns = fitting(lines.width, &state.widths);
    let placed = |column: &FittedColumn, text: String, tint: Option<Color>| PlacedCell {
        text: column.column.cut_to(&text, column.width),
        tint,
        width: column.width,
        is_right: column.column.is_right,
    };
    let heads = columns
        .iter()
        .map(|it| placed(it, it.column.title.to_owned(), None));
    lines.heads(heads.collect());
    let last = lines.next + state.rows();
    for (is_cursor, at) in state.list.on_screen(state.rows()) {
        let Some(item) = state.items.get(at) else {
            continue;
        };
        let cells = columns.iter().map(|it| {
            let (text, tint) = cell(item, it.field, state);
            placed(it, text, tint)
        });
        lines.row(&Row {
            mark: mark(state.marks.of(at)),
            cells: cells.collect(),
            is_cursor,
            typed: &state.list.typed,
        });
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
    let widths = entry_widths(lines.width);
    lines.heads(placed(
        ["SIZE", "CHANGED", "NAME"].map(str::to_owned),
        widths,
    ));
    let last = lines.next + state.rows();
    for (is_cursor, at) in files.list.on_screen(state.rows()) {
        let Some(entry) = files.entries.get(at) else {
            continue;
        };
        let own = match state.marks.has_file(files.of, at) {
            true => Mark::Whole,
            false => Mark::Nothing,
        };
        let name = entry.shown();
        let name = match files.left {
            0 => fit_middle(&name, widths[2]),
            left => part(&name, left, width_of(&name)),
        };
        let [size, time] = size_and_time(entry, widths[1], &state.zone);
        lines.row(&Row {
            mark: mark(own),
            cells: placed([size, time, name], widths),
            is_cursor,
            typed: &files.list.typed,
        });
    }
    let notice = files.notice(lines.width);
    if files.list.shown().is_empty() {
        let text = match (files.entries.is_empty(), files.progress) {
            (false, _) => NOTHING_FOUND,
            (true, Progress::UnderWay) => "Reading what is inside ...",
            (true, _) if notice.is_empty() => "There is nothing inside.",
            (true, _) => "",
        };
        lines.message(text, last);
    }
    lines.next = last;
    for line in notice {
        lines.add(&line, lines.tinted(Color::Red));
    }
    let name = files.current().map(|(_, entry)| entry.shown());
    lines.add(&end_of(&name.unwrap_or_default(), lines.width), PLAIN);
    cursor
}

/// The widths of size, time and name; 0 where there is no room.
fn entry_widths(width: usize) -> [usize; 3] {
    let room = width.saturating_sub(MARKS_WIDTH);
    let beside_size = room.saturating_sub(SIZE_WIDTH + 1);
    let beside = |time: usize| beside_size.saturating_sub(time + 1);
    if beside(TIME_WIDTH) >= NAME_BESIDE_TIME {
        [SIZE_WIDTH, TIME_WIDTH, beside(TIME_WIDTH)]
    } else if beside(DATE_WIDTH) >= NAME_BESIDE_SIZE {
        [SIZE_WIDTH, DATE_WIDTH, beside(DATE_WIDTH)]
    } else if beside_size >= NAME_BESIDE_SIZE {
        [SIZE_WIDTH, 0, beside_size]
    } else {
        [0, 0, room]
    }
}

fn size_and_time(entry: &Entry, time_width: usize, zone: &TimeZone) -> [String; 2] {
    let size = match entry.kind {
        Kind::File => human_size(entry.size),
        _ => "-".to_owned(),
    };
    let time = entry.mtime.map_or("-".to_owned(), |time| {
        let local = time.to_zoned(zone.clone());
        let text = local.strftime("%Y-%m-%d %H:%M").to_string();
        text.chars().take(time_width).collect()
    });
    [size, time]
}

/// The cells for which there is room; only the size is aligned to the right.
fn placed(texts: [String; 3], widths: [usize; 3]) -> Vec<PlacedCell> {
    let cells = texts.into_iter().zip(widths).zip([true, false, false]);
    let cells = cells.map(|((text, width), is_right)| PlacedCell {
        text,
        tint: None,
        width,
        is_right,
    });
    cells.filter(|cell| cell.width > 0).collect()
}

fn mark(mark: Mark) -> char {
    match mark {
        Mark::Nothing => ' ',
        Mark::Whole => '*',
        Mark::Files => '+',
    }
}

/// The text, or its end: what matters most of a path.
fn end_of(text: &str, width: usize) -> String {
    match width_of(text) <= width {
        true => text.to_owned(),
        false => format!("…{}", tail(text, width.saturating_sub(1))),
    }
}

fn cell(item: &Candidate, field: Field, state: &State) -> (String, Option<Color>) {
    let cell = item.cell(field, state.now);
    let tint = match cell.tone {
        Tone::Bad => Some(Color::Red),
        Tone::Warn => Some(Color::Yellow),
        _ => None,
    };
    (cell.text, tint)
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
        (Place::Record, View::Record(page)) => page_count(page, state.rows()),
        _ => state
            .keys
            .as_ref()
            .map_or(String::new(), |page| page_count(page, state.rows())),
    };
    let room = width.saturating_sub(width_of(&count));
    let chosen = state.chosen_count();
    format!("{count}{}", hints(place, chosen, !state.only_one, room))
}

/// Which lines of a page are on the screen, unless all are.
fn page_count(page: &Page, rows: usize) -> String {
    let (first, count) = (page.top + 1, page.lines.len());
    match page.top + rows {
        last if rows == 0 || (first == 1 && last >= count) => String::new(),
        last => format!("{first}-{} of {count} lines | ", last.min(count)),
    }
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
