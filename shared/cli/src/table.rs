//! An aligned table for people.
//!
//! Knows no record and prints nothing.

use bk_schema::visible::visible;
use unicode_width::UnicodeWidthStr;

/// A column of a table, by its header.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Of text, aligned to the left.
    Left(&'static str),
    /// Of numbers, aligned to the right.
    Right(&'static str),
}

/// A table that may be printed in parts: later ones have the widths of the earlier ones, or wider.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    /// Empty until the header is printed.
    widths: Vec<usize>,
}

impl Table {
    /// A table of which nothing is printed yet.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            widths: Vec::new(),
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Control characters are escaped when it is printed.
    pub text: String,
    /// Its colour.
    pub tone: Tone,
}

/// The colour of a cell, if colour is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// None.
    #[default]
    Plain,
    /// Bold: a header.
    Head,
    /// Green: good.
    Good,
    /// Yellow: neither good nor bad.
    Warn,
    /// Red: bad.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Head => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

impl Cell {
    /// A cell in colour.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        Self { text, tone }
    }

    /// `-` for what is not known.
    #[must_use]
    pub fn or_dash(text: Option<String>) -> Self {
        text.unwrap_or_else(|| "-".to_owned()).into()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

pub(crate) fn paint(text: &str, tone: Tone, is_colour: bool) -> String {
    if is_colour && tone != Tone::Plain {
        format!("{}{text}\x1b[0m", tone.code())
    } else {
        text.to_owned()
    }
}

pub(crate) fn render(table: &mut Table, rows: &[Vec<Cell>], is_colour: bool) -> String {
    let mut all = Vec::new();
    if table.widths.is_empty() {
        let head =
            |(Column::Left(title) | Column::Right(title)): &Column| Cell::new(*title, Tone::Head);
        all.push(table.columns.iter().map(head).collect::<Vec<_>>());
        table.widths = vec![0; table.columns.len()];
    }
    all.extend(rows.iter().map(|row| {
        let shown = |cell: &Cell| Cell::new(visible(&cell.text), cell.tone);
        row.iter().map(shown).collect()
    }));
    for row in &all {
        for (cell, width) in row.iter().zip(&mut table.widths) {
            *width = cell.text.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(&table.columns).zip(&table.widths) {
            let space = " ".repeat(width - cell.text.width());
            let painted = paint(&cell.text, cell.tone, is_colour);
            line.push_str(&match column {
                Column::Left(_) => format!("{painted}{space}  "),
                Column::Right(_) => format!("{space}{painted}  "),
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_shown_in_them() {
        let columns = [Column::Right("N"), Column::Left("NAME"), Column::Left("X")];
        let row = |texts: [&str; 3]| texts.map(|text| text.to_owned().into()).to_vec();
        let rows = [row(["1", "日本", "x"]), row(["100", "a\x1b[31m\n", ""])];
        let mut table = Table::new(&columns);
        assert_eq!(
            render(&mut table, &rows, false),
            concat!(
                "  N  NAME           X\n",
                "  1  日本           x\n",
                "100  a\\u{1b}[31m\\n\n"
            )
        );
        assert_eq!(
            render(&mut table, &[row(["1", "b", "y"])], false),
            "  1  b              y\n"
        );
    }
}
