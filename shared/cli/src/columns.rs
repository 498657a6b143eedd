//! Which columns of a table a terminal has room for, and how wide they are.
//!
//! A pure function of widths; knows no cell's meaning and no terminal.

use crate::text::{fit, fit_middle, part, width_of};

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its header.
    pub title: &'static str,
    /// Whether its text is aligned to the right, as numbers are.
    pub is_right: bool,
    /// How early it leaves: the highest first. With 0 it stays.
    leaves: u8,
    /// How its text is cut, and to what width before other columns leave.
    cut: Option<(Cut, usize)>,
    is_extra: bool,
}

/// Where a text is cut that is too long. Where there is room again, the first of these gets it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In its middle, with a mark: names and paths.
    Middle,
    /// At its end, without a mark: the time of day behind a date.
    Plain,
    /// At its end, with a mark: what people wrote.
    End,
}

impl Column {
    /// Of text.
    #[must_use]
    pub const fn left(title: &'static str) -> Self {
        Self {
            title,
            is_right: false,
            leaves: 0,
            cut: None,
            is_extra: false,
        }
    }

    /// Of numbers.
    #[must_use]
    pub const fn right(title: &'static str) -> Self {
        Self {
            is_right: true,
            ..Self::left(title)
        }
    }

    /// Leaves where there is no room, after those with a higher rank. If each of its cells is `-`, it leaves
    /// before all that say something.
    #[must_use]
    pub const fn leaves(self, rank: u8) -> Self {
        Self {
            leaves: rank,
            ..self
        }
    }

    /// Is cut where there is no room; below `least_width` only after all others have left.
    #[must_use]
    pub const fn cut(self, cut: Cut, least_width: usize) -> Self {
        Self {
            cut: Some((cut, least_width)),
            ..self
        }
    }

    /// Is there only where all others are there uncut, and there is room for it.
    #[must_use]
    pub const fn extra(self) -> Self {
        Self {
            is_extra: true,
            ..self
        }
    }

    /// Its text, cut to a width that [`fitting`] gave.
    #[must_use]
    pub fn cut_to(&self, text: &str, width: usize) -> String {
        match self.cut.map(|(cut, _)| cut) {
            _ if width_of(text) <= width => text.to_owned(),
            Some(Cut::Middle) => fit_middle(text, width),
            Some(Cut::Plain) => part(text, 0, width),
            Some(Cut::End) | None => fit(text, width),
        }
    }

    fn least(&self, content: Content) -> usize {
        let least = self.cut.map_or(usize::MAX, |(_, least)| least);
        content.width.min(least)
    }
}

/// What a column has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The width of the widest cell, the header among them.
    pub width: usize,
    /// Whether each cell is `-`.
    pub is_blank: bool,
}

impl Content {
    /// Of a column without cells.
    #[must_use]
    pub fn new(column: &Column) -> Self {
        Self {
            width: width_of(column.title),
            is_blank: true,
        }
    }

    /// Adds a cell.
    pub fn add(&mut self, text: &str) {
        self.width = self.width.max(width_of(text));
        self.is_blank &= text == "-";
    }
}

/// What a table may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// As much as it needs, without the extra columns.
    Enough,
    /// As much as it needs, with all columns.
    Wide,
    /// So many columns of a terminal.
    Terminal(usize),
}

/// A column that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitted {
    /// Its place among the columns that there are.
    pub at: usize,
    /// Its width.
    pub width: usize,
}

/// Whether all columns but the extra ones fit uncut.
#[must_use]
pub fn fit_whole(columns: &[Column], contents: &[Content], room: Room, gap: usize) -> bool {
    let all = columns.iter().zip(contents).enumerate();
    let whole = all.filter(|(_, (column, _))| !column.is_extra);
    let whole = whole.map(|(at, (_, content))| Fitted {
        at,
        width: content.width,
    });
    match room {
        Room::Enough | Room::Wide => true,
        Room::Terminal(width) => taken(&whole.collect::<Vec<_>>(), gap) <= width,
    }
}

/// The columns that there is room for, in their order, with `gap` spaces between two of them.
///
/// Where not all fit, columns of dashes leave, then others, until the rest fits with those that can be
/// cut at their least width; what is left over goes to these. Where all fit uncut, extra columns join,
/// each at its least width or wider.
#[must_use]
pub fn fitting(columns: &[Column], contents: &[Content], room: Room, gap: usize) -> Vec<Fitted> {
    let natural = |at: usize| Fitted {
        at,
        width: contents[at].width,
    };
    let is_extra = |at: &usize| columns[*at].is_extra;
    let all = 0..columns.len();
    let width = match room {
        Room::Wide => return all.map(natural).collect(),
        Room::Enough => return all.filter(|at| !is_extra(at)).map(natural).collect(),
        Room::Terminal(width) => width,
    };
    let mut shown: Vec<_> = all
        .clone()
        .filter(|at| !is_extra(at))
        .map(natural)
        .collect();
    let rank = |at: usize| (columns[at].leaves, at);
    let leave = |shown: &mut Vec<Fitted>, may: &dyn Fn(usize) -> bool| {
        let leaving = shown.iter().map(|it| it.at);
        let leaving = leaving.filter(|at| columns[*at].leaves > 0 && may(*at));
        let first = leaving.max_by_key(|at| rank(*at));
        shown.retain(|it| Some(it.at) != first);
        first.is_some()
    };
    while taken(&shown, gap) > width && leave(&mut shown, &|at| contents[at].is_blank) {}
    let least = |at: usize| Fitted {
        at,
        width: columns[at].least(contents[at]),
    };
    for it in &mut shown {
        *it = least(it.at);
    }
    let mut is_all = true;
    while taken(&shown, gap) > width && leave(&mut shown, &|_| true) {
        is_all = false;
    }
    grow(&mut shown, columns, contents, width, gap);
    for at in all.filter(is_extra) {
        let is_whole = shown.iter().all(|it| it.width == contents[it.at].width);
        let needed = taken(&shown, gap) + gap + least(at).width;
        if is_all && is_whole && !contents[at].is_blank && needed <= width {
            shown.push(least(at));
            grow(&mut shown, columns, contents, width, gap);
        }
    }
    shown.sort_by_key(|it| it.at);
    shrink(&mut shown, columns, width, gap);
    shown
}

fn taken(shown: &[Fitted], gap: usize) -> usize {
    let widths: usize = shown.iter().map(|it| it.width).sum();
    widths + gap * shown.len().saturating_sub(1)
}

/// Gives what is left over to the columns that are cut.
fn grow(shown: &mut [Fitted], columns: &[Column], contents: &[Content], width: usize, gap: usize) {
    let mut left = width.saturating_sub(taken(shown, gap));
    for wanted in [Cut::Middle, Cut::Plain, Cut::End] {
        let missing = |it: &Fitted| match columns[it.at].cut {
            Some((cut, _)) if cut == wanted => contents[it.at].width - it.width,
            _ => 0,
        };
        // A part of a time is worth nothing. The others grow in turns, so that none starves.
        let step = |it: &Fitted| match wanted {
            Cut::Plain => missing(it),
            Cut::Middle | Cut::End => missing(it).min(1),
        };
        let mut has_grown = true;
        while std::mem::take(&mut has_grown) {
            for it in shown.iter_mut() {
                let more = step(it);
                if more > 0 && more <= left {
                    it.width += more;
                    left -= more;
                    has_grown = true;
                }
            }
        }
    }
}

/// Cuts below the least width what can be cut, then whatever is at the end.
fn shrink(shown: &mut Vec<Fitted>, columns: &[Column], width: usize, gap: usize) {
    let mut over = taken(shown, gap).saturating_sub(width);
    for is_cut in [true, false] {
        for fitted in shown.iter_mut().rev() {
            if columns[fitted.at].cut.is_some() == is_cut {
                let less = over.min(fitted.width.saturating_sub(1));
                fitted.width -= less;
                over -= less;
            }
        }
    }
    while taken(shown, gap) > width && shown.len() > 1 {
        shown.pop();
    }
}
