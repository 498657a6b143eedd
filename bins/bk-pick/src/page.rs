//! Lines to scroll through: the record of a backup, or the keys.
//!
//! Knows no screen but its width.

use bk_cli::detail::{NAME_WIDTH, fields};
use bk_cli::listing::Listed;
use bk_schema::visible::visible;

use crate::keys;
use bk_cli::text::{width_of, wrap};

/// The space between the names and what stands beside them.
const GAP: usize = 2;
/// With less room beside the names of the keys, the text stands below them.
const TEXT_MIN: usize = 24;

/// The lines, and which of them are on the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) lines: Vec<String>,
    /// The first line on the screen.
    pub(crate) top: usize,
}

impl Page {
    /// A record, as `bk-ls -l` prints it.
    pub(crate) fn of_record(listed: &Listed, width: usize) -> Self {
        let room = width.saturating_sub(NAME_WIDTH + GAP);
        let lines = fields(listed).into_iter().flat_map(|(name, value)| {
            beside(&name, NAME_WIDTH, wrap(&visible(&value), room)).collect::<Vec<_>>()
        });
        Self {
            lines: lines.collect(),
            top: 0,
        }
    }

    /// All keys.
    pub(crate) fn of_keys(width: usize) -> Self {
        let names_width = keys::ALL.iter().map(|key| width_of(key.names)).max();
        let names_width = names_width.unwrap_or(0);
        let room = width.saturating_sub(names_width + GAP);
        let lines = keys::ALL.iter().flat_map(|key| {
            if room >= TEXT_MIN {
                return beside(key.names, names_width, words(key.what, room)).collect::<Vec<_>>();
            }
            let what = words(key.what, width.saturating_sub(GAP));
            let mut lines = vec![key.names.to_owned()];
            lines.extend(beside("", 0, what));
            lines
        });
        Self {
            lines: lines.collect(),
            top: 0,
        }
    }

    /// Keeps the page inside its lines.
    pub(crate) fn settle(&mut self, rows: usize) {
        self.top = self.top.min(self.lines.len().saturating_sub(rows.max(1)));
    }
}

/// A name with lines of text beside it.
fn beside(name: &str, name_width: usize, text: Vec<String>) -> impl Iterator<Item = String> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(text).map(move |(name, piece)| {
        let space = name_width.saturating_sub(width_of(name)) + GAP;
        format!("{name}{}{piece}", " ".repeat(space))
    })
}

/// The text in lines that end between words, where a word fits.
pub(crate) fn words(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width_of(line) + 1 + width_of(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(wrap(word, width)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words_where_they_can() {
        assert_eq!(words("to be or not", 6), ["to be", "or not"]);
        assert_eq!(words("an incredible bag", 8), ["an", "incredib", "le bag"]);
    }

    #[test]
    fn the_keys_fit_any_screen() {
        for width in [20, 40, 60, 80, 120] {
            let page = Page::of_keys(width);
            let widest = page.lines.iter().map(|line| width_of(line)).max();
            assert!(widest.is_some_and(|it| it <= width.max(26)), "{page:#?}");
        }
        assert!(Page::of_keys(80).lines.len() <= 22);
    }
}
