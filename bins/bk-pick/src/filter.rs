//! Fuzzy search: the items that have the typed letters, in order, in one of their texts.
//!
//! Knows no screen and no keys, and of an item its texts alone.

use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Matcher, Utf32Str};

/// Separates terms, which must all match.
const SEPARATOR: char = ',';

/// What is searched.
pub(crate) trait Searched {
    /// The texts that are compared, each on its own.
    fn texts(&self) -> impl Iterator<Item = &str>;
}

/// Indices of the items that match: first those that contain each term as a whole, then those that
/// contain its letters; either in the order of the items.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) all: Vec<usize>,
    pub(crate) whole_count: usize,
}

/// Searches items. Keeps buffers between searches.
#[derive(Default)]
pub(crate) struct Filter {
    matcher: Matcher,
    chars: Vec<char>,
}

/// One term, for both kinds of match.
struct Term {
    letters: Atom,
    whole: Atom,
}

/// The terms of what is typed.
pub(crate) fn terms(text: &str) -> impl Iterator<Item = &str> {
    text.split(SEPARATOR).filter(|term| !term.is_empty())
}

impl Filter {
    /// The items that match, out of those at `among`.
    pub(crate) fn narrow<T: Searched>(
        &mut self,
        text: &str,
        items: &[T],
        among: impl Iterator<Item = usize>,
    ) -> Found {
        let terms: Vec<_> = terms(text).map(Term::new).collect();
        let (mut all, mut letters) = (Vec::new(), Vec::new());
        for at in among {
            match items.get(at).and_then(|item| self.matches(&terms, item)) {
                Some(true) => all.push(at),
                Some(false) => letters.push(at),
                None => {}
            }
        }
        // They come in the order of an earlier search.
        all.sort_unstable();
        letters.sort_unstable();
        let whole_count = all.len();
        all.append(&mut letters);
        Found { all, whole_count }
    }

    /// Whether an item contains each term as a whole; `None` if it does not match.
    fn matches(&mut self, terms: &[Term], item: &impl Searched) -> Option<bool> {
        let mut is_whole = true;
        for term in terms {
            let mut is_in = |atom: &Atom| {
                item.texts().any(|text| {
                    let text = Utf32Str::new(text, &mut self.chars);
                    atom.score(text, &mut self.matcher).is_some()
                })
            };
            if is_whole && is_in(&term.whole) {
                continue;
            }
            is_whole = false;
            if !is_in(&term.letters) {
                return None;
            }
        }
        Some(is_whole)
    }
}

impl Found {
    /// All of so many items.
    pub(crate) fn all_of(count: usize) -> Self {
        Self {
            all: (0..count).collect(),
            whole_count: count,
        }
    }

    /// Adds what was found among further items, and tells how many came in before the letters' place.
    pub(crate) fn add(&mut self, more: Found) -> usize {
        let (whole, letters) = more.all.split_at(more.whole_count);
        let at = self.whole_count..self.whole_count;
        self.all.splice(at, whole.iter().copied());
        self.all.extend_from_slice(letters);
        self.whole_count += whole.len();
        whole.len()
    }
}

impl Term {
    fn new(text: &str) -> Self {
        let atom = |kind| Atom::new(text, CaseMatching::Smart, Normalization::Smart, kind, false);
        Self {
            letters: atom(AtomKind::Fuzzy),
            whole: atom(AtomKind::Substring),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Searched for Vec<&str> {
        fn texts(&self) -> impl Iterator<Item = &str> {
            self.iter().copied()
        }
    }

    fn items() -> Vec<Vec<&'static str>> {
        vec![
            vec!["n-i-g-h-t", "2026-11-24"],
            vec!["nightly", "2026-11-24"],
            vec!["nightly-3", "Vor dem Überspielen", "2026-11-23"],
            vec!["nightly-4", "10.4-rc1", "2026-11-22"],
        ]
    }

    fn found(text: &str) -> Vec<usize> {
        let items = items();
        Filter::default().narrow(text, &items, 0..items.len()).all
    }

    #[test]
    fn letters_are_found_in_any_one_text() {
        assert_eq!(found(""), [0, 1, 2, 3]);
        assert_eq!(found("uberspiel"), [2]);
        assert_eq!(found("ngl"), [1, 2, 3]);
        assert_eq!(found("104rc"), [3]);
        assert_eq!(found("11-23"), [2]);
        assert_eq!(found("nightly2026"), Vec::<usize>::new());
    }

    #[test]
    fn what_holds_the_text_as_a_whole_comes_first() {
        assert_eq!(found("night"), [1, 2, 3, 0]);
    }

    #[test]
    fn each_part_must_be_found() {
        assert_eq!(found("nightly-,11-22"), [3]);
        assert_eq!(found(",,11-22,"), [3]);
        assert_eq!(found("11-22,11-23"), Vec::<usize>::new());
    }

    proptest! {
        /// What the narrowing of a narrowed list rests on.
        #[test]
        fn more_letters_never_find_more(text in "[a-zA-Zü0-9,. -]{0,6}", more in "[a-zA-Zü0-9,. -]") {
            let mut few = found(&format!("{text}{more}"));
            let all = found(&text);
            few.retain(|at| !all.contains(at));
            prop_assert!(few.is_empty());
        }

        /// A listing is searched while it comes.
        #[test]
        fn what_is_found_in_parts_is_what_is_found_at_once(text in "[nightly,1-4.]{0,4}", cut in 0usize..5) {
            let items = items();
            let mut filter = Filter::default();
            let cut = cut.min(items.len());
            let mut found = filter.narrow(&text, &items, 0..cut);
            found.add(filter.narrow(&text, &items, cut..items.len()));
            prop_assert_eq!(found, filter.narrow(&text, &items, 0..items.len()));
        }
    }
}
