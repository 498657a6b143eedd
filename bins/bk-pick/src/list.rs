//! A list on the screen: which of its items are shown, by what is typed, and where the cursor is.
//!
//! Knows no item and no screen.

use crate::filter::{Filter, Found, Searched};

/// The rows that one turn of the mouse wheel scrolls.
pub(crate) const WHEEL_ROWS: isize = 3;

/// A change of what is typed.
pub(crate) enum Typing<'a> {
    More(&'a str),
    EraseLast,
    EraseAll,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) typed: String,
    found: Found,
    /// An index into [`List::shown`].
    pub(crate) cursor: usize,
    /// The first one that is on the screen.
    pub(crate) top: usize,
}

impl List {
    /// So many items, all of them shown.
    pub(crate) fn of(count: usize) -> Self {
        Self {
            found: Found::all_of(count),
            ..Self::default()
        }
    }

    /// The items that match the typed text, as indices.
    pub(crate) fn shown(&self) -> &[usize] {
        &self.found.all
    }

    /// Whether an item is among them.
    pub(crate) fn shows(&self, item: usize) -> bool {
        let (whole, letters) = self.found.all.split_at(self.found.whole_count);
        whole.binary_search(&item).is_ok() || letters.binary_search(&item).is_ok()
    }

    /// The item under the cursor.
    pub(crate) fn current(&self) -> Option<usize> {
        self.shown().get(self.cursor).copied()
    }

    /// Those on a screen with so many rows, each with whether the cursor is there.
    pub(crate) fn on_screen(&self, rows: usize) -> impl Iterator<Item = (bool, usize)> {
        let rows = self.shown().iter().enumerate().skip(self.top).take(rows);
        rows.map(|(at, item)| (at == self.cursor, *item))
    }

    /// Moves the cursor; [`List::settle`] corrects the bounds.
    pub(crate) fn step(&mut self, by: isize) {
        self.cursor = self.cursor.saturating_add_signed(by);
    }

    /// Scrolls as far as there are items, and takes the cursor along where it would be left behind.
    pub(crate) fn scroll(&mut self, by: isize, rows: usize) {
        let rows = rows.max(1);
        let last_top = self.shown().len().saturating_sub(rows);
        self.top = self.top.saturating_add_signed(by).min(last_top);
        self.cursor = self.cursor.clamp(self.top, self.top + rows - 1);
    }

    /// Moves the cursor to a row of the screen, if an item is there.
    pub(crate) fn point(&mut self, row: usize) {
        if self.top + row < self.shown().len() {
            self.cursor = self.top + row;
        }
    }

    /// Keeps the cursor inside the list and the screen.
    pub(crate) fn settle(&mut self, rows: usize) {
        let rows = rows.max(1);
        let count = self.shown().len();
        self.cursor = self.cursor.min(count.saturating_sub(1));
        let lowest = (self.cursor + 1).saturating_sub(rows);
        // Do not leave rows empty while there are more items.
        let highest = self.cursor.min(count.saturating_sub(rows));
        self.top = self.top.min(highest).max(lowest);
    }

    /// Changes what is typed.
    pub(crate) fn search(
        &mut self,
        typing: &Typing<'_>,
        filter: &mut Filter,
        items: &[impl Searched],
    ) {
        let length = self.typed.len();
        match typing {
            Typing::More(more) => self.typed.push_str(more),
            Typing::EraseLast => {
                self.typed.pop();
            }
            Typing::EraseAll => self.typed.clear(),
        }
        if self.typed.len() == length {
            return;
        }
        // More letters never match more.
        let among = match typing {
            Typing::More(_) => std::mem::take(&mut self.found.all),
            _ => (0..items.len()).collect(),
        };
        self.found = filter.narrow(&self.typed, items, among.into_iter());
        (self.cursor, self.top) = (0, 0);
    }

    /// Adds items that came since; the cursor stays on its own.
    pub(crate) fn add_from(&mut self, first: usize, filter: &mut Filter, items: &[impl Searched]) {
        let (whole_count, is_at_first) = (self.found.whole_count, self.cursor == 0);
        let more = filter.narrow(&self.typed, items, first..items.len());
        let before = self.found.add(more);
        if self.cursor >= whole_count && !is_at_first {
            self.cursor += before;
            self.top += before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Searched for &str {
        fn texts(&self) -> impl Iterator<Item = &str> {
            std::iter::once(*self)
        }
    }

    #[test]
    fn the_wheel_scrolls_as_far_as_there_is_something_and_takes_the_cursor_along() {
        let mut list = List::of(9);
        list.scroll(3, 5);
        assert_eq!((list.top, list.cursor), (3, 3));
        list.scroll(3, 5);
        assert_eq!((list.top, list.cursor), (4, 4));
        list.step(4);
        list.scroll(-3, 5);
        assert_eq!((list.top, list.cursor), (1, 5));
        list.scroll(-3, 5);
        assert_eq!((list.top, list.cursor), (0, 4));
        list.scroll(3, 20);
        assert_eq!((list.top, list.cursor), (0, 4));
        list.point(9);
        list.point(2);
        assert_eq!(list.cursor, 2);
    }

    #[test]
    fn what_comes_later_is_searched_and_the_cursor_stays_on_its_item() {
        let items = ["a-b", "ab", "axb", "xab", "c"];
        let (mut list, mut filter) = (List::of(1), Filter::default());
        list.search(&Typing::More("ab"), &mut filter, &items);
        assert_eq!(list.shown(), [0]);
        list.add_from(1, &mut filter, &items[..3]);
        assert_eq!((list.shown(), list.cursor), (&[1, 0, 2][..], 0));
        list.step(1);
        list.add_from(3, &mut filter, &items);
        assert_eq!((list.shown(), list.current()), (&[1, 3, 0, 2][..], Some(0)));
        list.search(&Typing::EraseAll, &mut filter, &items);
        assert_eq!(list.shown(), [0, 1, 2, 3, 4]);
    }
}
