//! How many changes there are, and of how many bytes.
//!
//! Knows no line.

use bk_cli::units::human_size;
use bk_cli::{Cell, Column};
use bk_schema::manifest::Entry;
use serde::Serialize;

use crate::change::{Change, Kind};

pub(crate) const COLUMNS: [Column; 3] = [
    Column::left("CHANGE"),
    Column::right("COUNT"),
    Column::right("SIZE"),
];

/// Of files, the bytes: of modified ones those of the new.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Totals {
    added: u64,
    removed: u64,
    modified: u64,
    metadata: u64,
    r#type: u64,
    added_bytes: u64,
    removed_bytes: u64,
    modified_bytes: u64,
}

impl Totals {
    pub(crate) fn of(changes: &[Change]) -> Self {
        let mut all = Self::default();
        for change in changes {
            let size = |entry: &Option<Entry>| entry.as_ref().map_or(0, |it| it.size);
            let (old, new) = (size(&change.old), size(&change.new));
            match change.kind {
                Kind::Added => {
                    (all.added, all.added_bytes) = (all.added + 1, all.added_bytes + new)
                }
                Kind::Removed => {
                    (all.removed, all.removed_bytes) = (all.removed + 1, all.removed_bytes + old);
                }
                Kind::Modified => {
                    (all.modified, all.modified_bytes) =
                        (all.modified + 1, all.modified_bytes + new);
                }
                Kind::Type => {
                    all.r#type += 1;
                    all.added_bytes += new;
                    all.removed_bytes += old;
                }
                Kind::Metadata | Kind::InDoubt => all.metadata += 1,
            }
        }
        all
    }

    pub(crate) fn rows(&self) -> Vec<Vec<Cell>> {
        let row = |name: &str, count: u64, bytes: Option<u64>| {
            vec![
                Cell::from(name.to_owned()),
                Cell::from(count.to_string()),
                Cell::or_dash(bytes.map(human_size)),
            ]
        };
        vec![
            row("added", self.added, Some(self.added_bytes)),
            row("removed", self.removed, Some(self.removed_bytes)),
            row("modified", self.modified, Some(self.modified_bytes)),
            row("metadata", self.metadata, None),
            row("type", self.r#type, None),
        ]
    }

    /// On one line: what there is of them.
    pub(crate) fn summary(&self) -> String {
        let with_bytes = [
            (self.added, "added", self.added_bytes),
            (self.removed, "removed", self.removed_bytes),
            (self.modified, "modified", self.modified_bytes),
        ];
        let sized = with_bytes.into_iter().filter(|it| it.0 > 0);
        let sized =
            sized.map(|(count, what, bytes)| format!("{count} {what} ({})", human_size(bytes)));
        let others = [(self.metadata, "metadata"), (self.r#type, "type")];
        let others = others.into_iter().filter(|it| it.0 > 0);
        let others = others.map(|(count, what)| format!("{count} {what}"));
        let all: Vec<_> = sized.chain(others).collect();
        match all[..] {
            [] => "no change".to_owned(),
            _ => all.join(", "),
        }
    }
}
