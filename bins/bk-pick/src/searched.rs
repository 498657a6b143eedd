//! The texts of a backup that are searched: what it is called, what it is of, and when it was made.
//!
//! Knows no screen, and nothing of how texts are compared.

use bk_schema::host;
use serde_json::Value;

use crate::cells::Candidate;
use crate::filter::Searched;

/// The metadata that tells what a backup is of, and for whom it was made.
const METADATA: [&str; 6] = [
    "job",
    host::KEY,
    "sources",
    "command",
    "commands",
    "stdin_filename",
];

impl Searched for Candidate {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let backup = &self.listed.backup;
        let texts = [
            Some(backup.backup_name.as_str()),
            Some(backup.backup_type.name()),
            backup.source_version.as_deref(),
            backup.description.as_deref(),
            Some(self.time.as_str()),
        ];
        let values = METADATA
            .iter()
            .filter_map(|key| backup.backup_metadata.get(*key));
        let metadata = values.flat_map(|value| match value {
            Value::Array(all) => all.iter().collect(),
            Value::Object(all) => all.values().collect(),
            one => vec![one],
        });
        let metadata = metadata.filter_map(Value::as_str);
        texts.into_iter().flatten().chain(metadata)
    }
}

#[cfg(test)]
mod tests {
    use crate::cells::tests::item;
    use crate::filter::Filter;

    #[test]
    fn a_backup_is_found_by_what_it_is_of() {
        let items = [
            item(1, 1, |it| {
                it.backup_metadata
                    .insert("job".into(), "shop-nightly".into());
                it.backup_metadata
                    .insert("host".into(), "db1.example".into());
            }),
            item(2, 2, |it| {
                let sources = ["/srv/shop/app", "/etc/nginx"];
                it.backup_metadata
                    .insert("sources".into(), sources.as_slice().into());
                it.backup_metadata
                    .insert("excludes".into(), ["zzz"].as_slice().into());
            }),
            item(3, 3, |it| {
                it.source_version = Some("10.4-rc1".into());
                it.description = Some("before the move".into());
                it.backup_metadata
                    .insert("command".into(), "pg_dump shop".into());
            }),
        ];
        for (typed, expected) in [
            ("shop", &[1, 2, 3][..]),
            ("shop-n", &[1]),
            ("db1.ex", &[1]),
            ("nginx", &[2]),
            ("srv/shop", &[2]),
            ("the move", &[3]),
            ("10.4", &[3]),
            ("pg_dump", &[3]),
            ("nightly-2", &[2]),
            ("automatic,11-24 09", &[3]),
            ("zzz", &[]),
        ] {
            let found = Filter::default().narrow(typed, &items, 0..items.len()).all;
            let ids: Vec<_> = found.iter().map(|at| items[*at].listed.backup.id).collect();
            assert_eq!(ids, expected, "{typed}");
        }
    }
}
