//! Which backups the typed text means: its letters in their order, in one field of the record.
//!
//! Knows no screen and no keys.

use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use crate::cells::Item;

/// Between parts of the text, each of which must be found.
const SEPARATOR: char = ',';

/// Finds backups. Keeps the memory that matching needs.
pub(crate) struct Filter {
    matcher: Matcher,
    chars: Vec<char>,
}

/// One part of the text.
struct Term {
    letters: Atom,
    whole: Atom,
}

impl Filter {
    pub(crate) fn new() -> Self {
        Self {
            matcher: Matcher::new(Config::DEFAULT),
            chars: Vec::new(),
        }
    }

    /// Those of the given items that the text means: first those that hold it as it stands, then
    /// those that hold its letters; each in the order of the list.
    pub(crate) fn narrow(
        &mut self,
        text: &str,
        items: &[Item],
        among: impl Iterator<Item = usize>,
    ) -> Vec<usize> {
        let terms: Vec<_> = text
            .split(SEPARATOR)
            .filter(|term| !term.is_empty())
            .map(Term::new)
            .collect();
        let mut found: Vec<(bool, usize)> = among
            .filter_map(|at| Some((!self.holds(&terms, items.get(at)?)?, at)))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, at)| at).collect()
    }

    /// Whether it holds each term as it stands; `None` where it does not hold each at all.
    fn holds(&mut self, terms: &[Term], item: &Item) -> Option<bool> {
        let backup = &item.listed.backup;
        let fields = [
            Some(backup.backup_name.as_str()),
            Some(backup.backup_type.name()),
            backup.source_version.as_deref(),
            backup.description.as_deref(),
            Some(item.time.as_str()),
        ];
        let mut as_it_stands = true;
        for term in terms {
            let mut is_in = |atom: &Atom| {
                fields.iter().flatten().any(|field| {
                    let field = Utf32Str::new(field, &mut self.chars);
                    atom.score(field, &mut self.matcher).is_some()
                })
            };
            if as_it_stands && is_in(&term.whole) {
                continue;
            }
            as_it_stands = false;
            if !is_in(&term.letters) {
                return None;
            }
        }
        Some(as_it_stands)
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

    fn items() -> Vec<Item> {
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
        let found = Filter::new().narrow(text, &items, 0..items.len());
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
    fn what_holds_the_text_as_it_stands_comes_first() {
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
