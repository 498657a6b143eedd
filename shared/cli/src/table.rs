//! An aligned table for people.
//!
//! Knows no record and prints nothing.

use bk_schema::visible::visible;

use crate::columns::{Column, Content, Fitted, Room, fit_whole, fitting};
use crate::text::width_of;

/// The spaces between two columns, and where that is too much.
const GAP: usize = 2;
const NARROW_GAP: usize = 1;

/// A table that may be printed in parts: later ones have the columns of the first, as wide, or wider where
/// that is not in a terminal.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    contents: Vec<Content>,
    /// Empty until the header is printed.
    fitted: Vec<Fitted>,
    gap: usize,
}

impl Table {
    /// A table of which nothing is printed yet.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            contents: columns.iter().map(Content::new).collect(),
            fitted: Vec::new(),
            gap: GAP,
        }
    }

    /// Takes in what further rows have to show.
    fn measure(&mut self, rows: &[Vec<Cell>]) {
        for row in rows {
            for (cell, content) in row.iter().zip(&mut self.contents) {
                content.add(&cell.text);
            }
        }
    }

    /// Decides which columns are shown and how wide. Rows beneath a header that stands already keep to it
    /// in a terminal.
    fn fit(&mut self, room: Room) {
        let is_begun = !self.fitted.is_empty();
        if is_begun && matches!(room, Room::Terminal(_)) {
            return;
        }
        if !is_begun && !fit_whole(&self.columns, &self.contents, room, GAP) {
            self.gap = NARROW_GAP;
        }
        self.fitted = fitting(&self.columns, &self.contents, room, self.gap);
    }

    fn head(&self) -> Vec<Cell> {
        let head = |column: &Column| Cell::new(column.title, Tone::Head);
        self.columns.iter().map(head).collect()
    }

    fn line(&self, row: &[Cell], is_colour: bool) -> String {
        let mut line = String::new();
        for fitted in &self.fitted {
            let (column, cell) = (&self.columns[fitted.at], &row[fitted.at]);
            let cut = column.cut_to(&cell.text, fitted.width);
            let space = " ".repeat(fitted.width - width_of(&cut));
            let painted = paint(&cut, cell.tone, is_colour);
            line.push_str(&match column.is_right {
                false => format!("{painted}{space}"),
                true => format!("{space}{painted}"),
            });
            line.push_str(&" ".repeat(self.gap));
        }
        format!("{}\n", line.trim_end())
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

pub(crate) fn render(table: &mut Table, rows: &[Vec<Cell>], room: Room, is_colour: bool) -> String {
    let is_begun = !table.fitted.is_empty();
    let rows = shown(rows);
    table.measure(&rows);
    table.fit(room);
    let head = (!is_begun).then(|| table.head());
    let lines = head.iter().chain(&rows);
    lines.map(|row| table.line(row, is_colour)).collect()
}

/// A table whose rows stand beneath the name of their group.
pub(crate) fn render_groups(
    columns: &[Column],
    groups: &[(String, Vec<Vec<Cell>>)],
    room: Room,
    is_colour: bool,
) -> String {
    let mut table = Table::new(columns);
    let groups: Vec<_> = groups
        .iter()
        .map(|(name, rows)| (name, shown(rows)))
        .collect();
    for (_, rows) in &groups {
        table.measure(rows);
    }
    table.fit(room);
    let mut text = table.line(&table.head(), is_colour);
    for (name, rows) in &groups {
        text.push_str(&paint(&visible(name), Tone::Head, is_colour));
        text.push('\n');
        text.extend(rows.iter().map(|row| table.line(row, is_colour)));
    }
    text
}

/// Without control characters.
fn shown(rows: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    let cell = |cell: &Cell| Cell::new(visible(&cell.text), cell.tone);
    rows.iter()
        .map(|row| row.iter().map(cell).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Cut;
    use proptest::prelude::*;

    fn cells<const N: usize>(texts: [&str; N]) -> Vec<Cell> {
        texts.map(|text| text.to_owned().into()).to_vec()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_shown_in_them() {
        let columns = [Column::right("N"), Column::left("NAME"), Column::left("X")];
        let rows = [cells(["1", "日本", "x"]), cells(["100", "a\x1b[31m\n", ""])];
        let mut table = Table::new(&columns);
        assert_eq!(
            render(&mut table, &rows, Room::Enough, false),
            concat!(
                "  N  NAME           X\n",
                "  1  日本           x\n",
                "100  a\\u{1b}[31m\\n\n"
            )
        );
        assert_eq!(
            render(&mut table, &[cells(["1", "b", "y"])], Room::Enough, false),
            "  1  b              y\n"
        );
    }

    const COLUMNS: [Column; 5] = [
        Column::right("ID"),
        Column::left("TYPE").leaves(2),
        Column::left("VERSION").leaves(1),
        Column::left("SOURCE").cut(Cut::Middle, 8),
        Column::left("NAME").cut(Cut::End, 6).extra(),
    ];

    fn drawn(width: usize, version: &str) -> String {
        let row = cells(["12", "manual", version, "/srv/shop/app", "before-move"]);
        let room = Room::Terminal(width);
        let text = render(&mut Table::new(&COLUMNS), &[row], room, false);
        text.split_once('\n')
            .map(|(_, row)| row.trim_end().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn columns_give_way_in_their_order_and_what_is_cut_is_cut_last() {
        for (width, text) in [
            (47, "12  manual  2.0      /srv/shop/app  before-move"),
            (45, "12  manual  2.0      /srv/shop/app  before-m…"),
            (34, "12  manual  2.0      /srv/shop/app"),
            (33, "12 manual 2.0     /srv/shop/app"),
            (28, "12 manual 2.0     /srv/…/app"),
            (25, "12 2.0     /srv/shop/app"),
            (16, "12 /srv/shop/app"),
            (10, "12 /sr…app"),
            (4, "12 …"),
        ] {
            assert_eq!(drawn(width, "2.0"), text, "{width}");
        }
        assert_eq!(
            drawn(25, "-"),
            "12 manual /srv/shop/app",
            "dashes leave first"
        );
    }

    #[test]
    fn later_rows_keep_to_the_header() {
        let mut table = Table::new(&COLUMNS);
        let room = Room::Terminal(36);
        let first = cells(["1", "manual", "2.0", "/srv", "a"]);
        let head = render(&mut table, &[first], room, false);
        assert_eq!(
            head.lines().next(),
            Some("ID  TYPE    VERSION  SOURCE  NAME")
        );
        let later = cells(["12345", "pre-upgrade", "2.0", "/srv/shop", "b"]);
        let row = render(&mut table, &[later], room, false);
        assert_eq!(row, "1…  pre-u…  2.0      /sr…op  b\n");
    }

    proptest! {
        #[test]
        fn a_row_never_wraps(width in 1usize..120, texts in prop::array::uniform5(".{0,40}")) {
            let row = texts.map(Cell::from).to_vec();
            let text = render(&mut Table::new(&COLUMNS), &[row], Room::Terminal(width), false);
            for line in text.lines() {
                prop_assert!(width_of(line) <= width, "{line}");
            }
        }
    }
}
