//! Draws lines and the rows of lists from the top of the screen down.
//!
//! Knows no state and no keys.

use bk_schema::visible::visible;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};

use crate::columns::MARKS_WIDTH;
use crate::filter::terms;
use crate::page::{Page, words};
use bk_cli::text::{fit, tail, width_of};

const PROMPT: &str = "Find: ";

pub(crate) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(crate) const PLAIN: Style = Style::new();
const UNDERLINED: Style = Style::new().add_modifier(Modifier::UNDERLINED);

/// The screen, as far as it is drawn.
pub(crate) struct Lines<'a> {
    buffer: &'a mut Buffer,
    pub(crate) width: usize,
    height: usize,
    /// The next line to be drawn.
    pub(crate) next: usize,
    is_colour: bool,
}

/// A cell of a row, with its place.
pub(crate) struct PlacedCell {
    pub(crate) text: String,
    pub(crate) tint: Option<Color>,
    pub(crate) width: usize,
    pub(crate) is_right: bool,
}

/// A row of a list.
pub(crate) struct Row<'a> {
    pub(crate) mark: char,
    pub(crate) cells: Vec<PlacedCell>,
    pub(crate) is_cursor: bool,
    /// What is typed, to be shown where it stands.
    pub(crate) typed: &'a str,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(frame: &'a mut Frame<'_>, is_colour: bool) -> Self {
        Self {
            width: usize::from(frame.area().width),
            height: usize::from(frame.area().height),
            buffer: frame.buffer_mut(),
            next: 0,
            is_colour,
        }
    }

    /// The colour, if colour is used.
    pub(crate) fn tinted(&self, colour: Color) -> Style {
        match self.is_colour {
            true => PLAIN.fg(colour),
            false => PLAIN,
        }
    }

    pub(crate) fn add(&mut self, text: &str, style: Style) {
        let text = fit(text, self.width);
        self.put(0, self.next, &text, self.width, style);
        self.next += 1;
    }

    /// Draws what is typed and returns the position of the text cursor.
    pub(crate) fn prompt(&mut self, typed: &str) -> Position {
        let room = self.width.saturating_sub(PROMPT.len() + 1);
        let typed = tail(&visible(typed), room);
        let row = self.next.min(self.height.saturating_sub(1));
        self.add(&format!("{PROMPT}{typed}"), PLAIN);
        let column = (PROMPT.len() + width_of(&typed)).min(self.width.saturating_sub(1));
        Position::new(to_u16(column), to_u16(row))
    }

    /// Draws text in place of a list, above the line `last`.
    pub(crate) fn message(&mut self, text: &str, last: usize) {
        let room = last.saturating_sub(self.next);
        let lines = words(text, self.width.saturating_sub(MARKS_WIDTH));
        for line in lines.iter().take(room) {
            self.add(&format!("{:MARKS_WIDTH$}{line}", ""), PLAIN);
        }
    }

    /// Draws the heads of a list.
    pub(crate) fn heads(&mut self, heads: Vec<PlacedCell>) {
        let style = BOLD.patch(self.tinted(Color::Cyan));
        self.cells(heads.iter(), style, "");
    }

    pub(crate) fn row(&mut self, row: &Row<'_>) {
        let style = match row.is_cursor {
            true => PLAIN.add_modifier(Modifier::REVERSED),
            false => PLAIN,
        };
        let y = self.next;
        self.cells(row.cells.iter(), style, row.typed);
        let cursor = if row.is_cursor { ">" } else { " " };
        self.put(0, y, cursor, 1, style);
        let mark = style.patch(BOLD).patch(self.tinted(Color::Yellow));
        self.put(1, y, &row.mark.to_string(), 1, mark);
    }

    fn cells<'c>(
        &mut self,
        cells: impl Iterator<Item = &'c PlacedCell>,
        style: Style,
        typed: &str,
    ) {
        self.put(0, self.next, &" ".repeat(self.width), self.width, style);
        let mut x = MARKS_WIDTH;
        for cell in cells {
            let text = fit(&cell.text, cell.width);
            let space = match cell.is_right {
                true => cell.width - width_of(&text),
                false => 0,
            };
            let is_plain = !style.add_modifier.contains(Modifier::REVERSED);
            let own = cell.tint.filter(|_| is_plain);
            let own = own.map_or(PLAIN, |colour| self.tinted(colour));
            self.put(x + space, self.next, &text, cell.width, style.patch(own));
            self.underline(x + space, &text, typed);
            x += cell.width + 1;
        }
        self.next += 1;
    }

    /// Underlines what is typed where the text has it as a whole.
    fn underline(&mut self, x: usize, text: &str, typed: &str) {
        let lower = |text: &str| -> Vec<char> {
            let first = |c: char| c.to_lowercase().next().unwrap_or(c);
            text.chars().map(first).collect()
        };
        let chars = lower(text);
        for term in terms(typed).map(lower) {
            let is_there = |it: &[char]| it == term;
            let Some(at) = chars.windows(term.len()).position(is_there) else {
                continue;
            };
            let before: String = text.chars().take(at).collect();
            let found: String = text.chars().skip(at).take(term.len()).collect();
            let (x, width) = (x + width_of(&before), width_of(&found));
            if x < self.width && self.next < self.height {
                let width = width.min(self.width - x);
                let area = Rect::new(to_u16(x), to_u16(self.next), to_u16(width), 1);
                let style = UNDERLINED.patch(self.tinted(Color::Green));
                self.buffer.set_style(area, style);
            }
        }
    }

    pub(crate) fn page(&mut self, page: &Page, rows: usize) {
        let last = self.next + rows;
        for line in page.lines.iter().skip(page.top).take(rows) {
            self.add(line, PLAIN);
        }
        self.next = last;
    }

    /// Draws the last line of the screen.
    pub(crate) fn footer(&mut self, text: &str) {
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
