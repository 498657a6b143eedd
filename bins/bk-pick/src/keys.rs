//! The keys: one table, of which the page of keys, the last line of the screen and a test of the man
//! page are made.
//!
//! Knows what keys are called, not what they do.

/// A key, or some that belong together.
pub(crate) struct Key {
    /// As the man page has them.
    pub(crate) names: &'static str,
    pub(crate) what: &'static str,
    /// Where the last line of the screen shows it, with a word for it.
    hints: &'static [(Place, &'static str)],
}

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    List,
    Record,
    Inside,
    Keys,
}

use Place::{Inside, Keys, List, Record};

const fn key(
    names: &'static str,
    what: &'static str,
    hints: &'static [(Place, &'static str)],
) -> Key {
    Key { names, what, hints }
}

/// The key that shows all others.
const KEYS: &str = "?";
const ENTER: &str = "Enter";
const SPACE: &str = "Space";

/// All keys, those that are needed most first.
pub(crate) const ALL: &[Key] = &[
    key(
        "Any letter, digit or sign",
        "search: show what has the typed letters in this order; commas separate terms",
        &[],
    ),
    key("Backspace, Ctrl-U", "erase the last letter, or all", &[]),
    key("Up, Down, Ctrl-P, Ctrl-N", "move the cursor", &[]),
    key(
        "PgUp, PgDn, Home, End",
        "move it by a screen, or to an end",
        &[],
    ),
    key(
        "Mouse",
        "the wheel scrolls, a click moves the cursor; with Shift text is selected",
        &[],
    ),
    key(
        ENTER,
        "choose what is marked, or what is under the cursor",
        &[(List, "choose"), (Record, "choose"), (Inside, "choose")],
    ),
    key(
        SPACE,
        "mark a backup, or a file in it; again: unmark",
        &[(List, "mark"), (Record, "mark"), (Inside, "mark")],
    ),
    key(
        "Tab",
        "show the record of a backup, then what is inside, then the list again",
        &[(List, "look"), (Record, "what is inside"), (Inside, "list")],
    ),
    key("Left, Right", "scroll long names of files sideways", &[]),
    key(
        "Esc",
        "go back; in the list, leave without a choice",
        &[
            (List, "leave"),
            (Record, "back"),
            (Inside, "back"),
            (Keys, "back"),
        ],
    ),
    key("Ctrl-C", "leave without a choice", &[]),
    key("Ctrl-L", "redraw the screen", &[]),
    key("Ctrl-Z", "suspend the whole pipeline", &[]),
    key(
        KEYS,
        "show this page",
        &[(List, "keys"), (Record, "keys"), (Inside, "keys")],
    ),
];

/// The hints of a place that fit: those that matter least give way, the key that shows all stays.
pub(crate) fn hints(place: Place, chosen: usize, marks: bool, width: usize) -> String {
    let all = ALL.iter().filter(|key| marks || key.names != SPACE);
    let mut hints: Vec<String> = all
        .filter_map(|key| {
            let (_, word) = key.hints.iter().find(|(at, _)| *at == place)?;
            Some(match (key.names, chosen) {
                (ENTER | SPACE, 0) => return None,
                (ENTER, 2..) => format!("{}: {word} {chosen}", key.names),
                _ => format!("{}: {word}", key.names),
            })
        })
        .collect();
    let length = |hints: &[String]| hints.iter().map(|it| it.len() + 2).sum::<usize>();
    while hints.len() > 1 && length(&hints) > width + 2 {
        hints.remove(hints.len() - 2);
    }
    hints.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_man_page_names_the_same_keys() {
        let page = include_str!("../../../man/bk-pick.1");
        let section = page.split("\n.Ss Keys\n").nth(1).unwrap();
        let section = section.split("\n.Ss ").next().unwrap();
        let items = section.lines().filter_map(|line| line.strip_prefix(".It "));
        let named: Vec<_> = items
            .map(|names| names.replace(" ,", ",").replace(r"\&", ""))
            .collect();
        let known: Vec<_> = ALL.iter().map(|key| key.names).collect();
        assert_eq!(named, known);
    }

    #[test]
    fn what_matters_least_gives_way_and_the_page_of_keys_is_always_told() {
        let at = |place, width| hints(place, 1, true, width);
        let all = "Enter: choose, Space: mark, Tab: look, Esc: leave, ?: keys";
        assert_eq!(at(List, 58), all);
        assert_eq!(
            at(List, 57),
            "Enter: choose, Space: mark, Tab: look, ?: keys"
        );
        assert_eq!(at(List, 0), "?: keys");
        assert_eq!(hints(Keys, 1, true, 80), "Esc: back");
        assert_eq!(
            hints(List, 12, false, 80),
            "Enter: choose 12, Tab: look, Esc: leave, ?: keys"
        );
        assert_eq!(hints(List, 0, false, 20), "Tab: look, ?: keys");
    }
}
