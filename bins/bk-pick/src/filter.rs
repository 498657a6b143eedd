//! Fuzzy search: the backups that have the typed letters, in order, in one field of the record.
//!
//! Knows no screen and no keys.

use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Matcher, Utf32Str};

use crate::cells::Candidate;

/// Separates terms, which must all match.
const SEPARATOR: char = ',';

/// Searches backups. Keeps buffers between searches.
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

impl Filter {
    /// The indices, out of `among`, of the backups that match: first those that contain each term as
    /// a whole, then those that contain its letters; either in the order of the list.
    pub(crate) fn narrow(
        &mut self,
        text: &str,
        items: &[Candidate],
        among: impl Iterator<Item = usize>,
    ) -> Vec<usize> {
        let terms: Vec<_> = text
            .split(SEPARATOR)
            .filter(|term| !term.is_empty())
            .map(Term::new)
            .collect();
        let mut found: Vec<(bool, usize)> = among
            .filter_map(|at| Some((!self.matches(&terms, items.get(at)?)?, at)))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, at)| at).collect()
    }

    /// Whether a backup contains each term as a whole; `None` if it does not match.
    fn matches(&mut self, terms: &[Term], item: &Candidate) -> Option<bool> {
        let backup = &item.listed.backup;
        let fields = [
            Some(backup.backup_name.as_str()),
            Some(backup.backup_type.name()),
            backup.source_version.as_deref(),
            backup.description.as_deref(),
            Some(item.time.as_str()),
        ];
        let mut is_whole = true;
        for term in terms {
            let mut is_in = |atom: &Atom| {
                fields.iter().flatten().any(|field| {
                    let field = Utf32Str::new(field, &mut self.chars);
                    atom.score(field, &mut self.matcher).is_some()
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
    use crate::cells::tests::item;
    use proptest::prelude::*;

    fn items() -> Vec<Candidate> {
        vec![
            item(1, 1, |it| it.backup_name = "n-i-g-h-t".into()),
            item(2, 2, |it| it.backup_name = "nightly".into()),
            item(3, 30, |it| {
                it.description = Some("Vor dem Überspielen".into())
            }),
            item(4, 60, |it| it.source_version = Some("10.4-rc1".into())),
        ]
    }

    fn found(text: &str) -> Vec<i64> {
        let items = items();
        let found = Filter::default().narrow(text, &items, 0..items.len());
        let ids = found.iter().map(|at| items[*at].listed.backup.id);
        ids.collect()
    }

    #[test]
    fn letters_are_found_in_any_one_field() {
        assert_eq!(found(""), [1, 2, 3, 4]);
        assert_eq!(found("uberspiel"), [3]);
        assert_eq!(found("ngl"), [2, 3, 4]);
        assert_eq!(found("104rc"), [4]);
        assert_eq!(found("11-23"), [3]);
        assert_eq!(found("nightly2026"), Vec::<i64>::new());
    }

    #[test]
    fn what_holds_the_text_is_whole_comes_first() {
        assert_eq!(found("night"), [2, 3, 4, 1]);
    }

    #[test]
    fn each_part_must_be_found() {
        assert_eq!(found("nightly-,11-22"), [4]);
        assert_eq!(found(",,11-22,"), [4]);
        assert_eq!(found("11-22,11-23"), Vec::<i64>::new());
    }

    proptest! {
        /// What the narrowing of a narrowed list rests on.
        #[test]
        fn more_letters_never_find_more(text in "[a-zA-Zü0-9,. -]{0,6}", more in "[a-zA-Zü0-9,. -]") {
            let mut few = found(&format!("{text}{more}"));
            let all = found(&text);
            few.retain(|id| !all.contains(id));
            prop_assert!(few.is_empty());
        }
    }
}
