//! Draws the screen: a pure function of the state.
//!
//! Knows no terminal, and keys only by their names.

use bk_cli::Tone;
use bk_schema::visible::visible;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use ratatui::style::{Color, Modifier, Style};

use crate::cells::{Candidate, Field};
use crate::columns::{FittedColumn, MARKS_WIDTH, fitting};
use crate::state::{Page, Progress, State, View};
use bk_cli::text::{fit, part, tail, width_of};

const PROMPT: &str = "Find: ";

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
    match &state.view {
        View::List => {
            let end = list(&mut lines, state);
            frame.set_cursor_position(end);
        }
        View::Record(page) => {
            lines.add(&title(state, "Record of"), BOLD);
            lines.page(page, state.rows());
            lines.footer(&format!("{}, f: what is inside, Tab: back", choose(state)));
        }
        View::Inside(page, progress) => {
            lines.add(&title(state, "Inside"), BOLD);
            lines.page(page, state.rows());
            lines.footer(&inside_footer(state, page, *progress));
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const PLAIN: Style = Style::new();

/// Draws the list and returns the position of the text cursor.
fn list(lines: &mut Lines<'_>, state: &State) -> Position {
    let room = lines.width.saturating_sub(PROMPT.len() + 1);
    let typed = tail(&visible(&state.typed), room);
    let row = lines.next;
    lines.add(&format!("{PROMPT}{typed}"), PLAIN);
    let column = (PROMPT.len() + width_of(&typed)).min(lines.width.saturating_sub(1));

    let columns = fitting(lines.width, &state.widths);
    let heads = columns.iter().map(|it| (it.column.title.to_owned(), BOLD));
    lines.row("  ", &columns, heads, PLAIN);
    let last = lines.next + state.rows();
    let on_screen = state.shown.iter().enumerate().skip(state.top);
    for (at, place) in on_screen.take(state.rows()) {
        let Some(item) = state.items.get(*place) else {
            continue;
        };
        let is_cursor = at == state.cursor;
        let mark = match (is_cursor, state.marked.contains(place)) {
            (true, true) => ">*",
            (true, false) => "> ",
            (false, true) => " *",
            (false, false) => "  ",
        };
        let style = match is_cursor {
            true => PLAIN.add_modifier(Modifier::REVERSED),
            false => PLAIN,
        };
        let is_colour = lines.is_colour && !is_cursor;
        let cells = columns
            .iter()
            .map(|it| cell(item, it.field, state, is_colour));
        lines.row(mark, &columns, cells, style);
    }
    lines.next = last;
    lines.add(&state.current().map(full).unwrap_or_default(), PLAIN);
    lines.footer(&list_footer(state));
    Position::new(
        to_u16(column),
        to_u16(row.min(lines.height.saturating_sub(1))),
    )
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

/// The number of backups, and the keys, the most important first.
fn list_footer(state: &State) -> String {
    let seen = || {
        state
            .shown
            .iter()
            .filter(|at| state.marked.contains(at))
            .count()
    };
    let count = format!("{} of {}", state.shown.len(), state.items.len());
    let marked = match (state.marked.len(), state.typed.is_empty()) {
        (0, _) => String::new(),
        (marked, true) => format!(", {marked} marked"),
        (marked, false) => match marked - seen() {
            0 => format!(", {marked} marked"),
            hidden => format!(", {marked} marked ({hidden} hidden)"),
        },
    };
    format!(
        "{count}{marked} | {}, Tab: record, Esc: leave",
        choose(state)
    )
}

fn choose(state: &State) -> String {
    let enter = match state.marked.len() {
        0 => "Enter: choose".to_owned(),
        marked => format!("Enter: choose {marked}"),
    };
    match state.only_one {
        true => enter,
        false => format!("{enter}, Space: mark"),
    }
}

fn inside_footer(state: &State, page: &Page, progress: Progress) -> String {
    let count = page.lines.len();
    let lines = match progress {
        Progress::UnderWay => format!("{count} so far ..."),
        Progress::Done => format!("{count} lines"),
        Progress::Cut => {
            let id = state.current().map_or(0, |item| item.listed.backup.id);
            format!("the first {count}; use bk-ls --files {id} for all")
        }
    };
    format!("{lines} | Left, Right: scroll sideways, Tab: back")
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
            let text = column.column.cut_to(&text, column.width);
            let space = match column.column.is_right {
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
            let text = part(line, page.left, self.width);
            self.add(&text, PLAIN);
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
