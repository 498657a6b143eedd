//! Where a backup was taken from, by its record.
//!
//! Touches no file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::restore::names::{below, normalize};
use bk_archive::restore::stage::in_tree;
use bk_schema::record::Backup;
use serde_json::Value;

/// How the record tells that something came through a pipe.
const STREAM: &str = "stdin:";

/// What a backup can be restored to.
pub(crate) struct Sources {
    /// Paths with their plain names in the archive, without those that lie in another one.
    pub(crate) paths: Vec<(PathBuf, Vec<u8>)>,
    /// Names of what came from commands.
    pub(crate) streams: Vec<Vec<u8>>,
}

impl Sources {
    /// # Errors
    /// A backup that has no place.
    pub(crate) fn of(backup: &Backup) -> Result<Self> {
        let unknown = "its record does not say where it was taken from: name a directory with -C";
        if backup.backup_metadata.contains_key("sources_base64") {
            bail!("a source has a name that is not UTF-8: name a directory with -C");
        }
        let (sources, entries) = (texts(backup, "sources"), texts(backup, "source_entries"));
        let (sources, entries) = sources.zip(entries).context(unknown)?;
        ensure!(
            sources.len() == entries.len() && !sources.is_empty(),
            "{unknown}"
        );
        let (mut all, mut streams) = (Vec::new(), Vec::new());
        for (source, entry) in sources.iter().zip(entries) {
            let name = normalize(entry.as_bytes())?;
            if source.starts_with(STREAM) {
                streams.push(name);
                continue;
            }
            ensure!(source.starts_with('/'), "{unknown}");
            all.push((PathBuf::from(source), name));
        }
        ensure!(
            !all.is_empty(),
            "it came through a pipe, from no place: name a directory with -C, or print it with --stdout"
        );
        let is_within = |one: &(PathBuf, Vec<u8>), outer: &(PathBuf, Vec<u8>)| {
            let rest = below(&one.1, &outer.1).and_then(|rest| str::from_utf8(rest).ok());
            rest.is_some_and(|rest| !rest.is_empty() && outer.0.join(rest) == one.0)
        };
        let apart = all
            .iter()
            .filter(|one| !all.iter().any(|outer| is_within(one, outer)));
        Ok(Self {
            paths: apart.cloned().collect(),
            streams,
        })
    }

    /// The path of an entry in the stage of a source; `None` where it belongs to another source, whose
    /// name is a longer prefix, or came from a command.
    pub(crate) fn place_of(&self, number: usize, name: &[u8]) -> Option<Vec<u8>> {
        let own = &self.paths[number].1;
        let rest = below(name, own)?;
        let is_others = self
            .paths
            .iter()
            .any(|(_, other)| other.len() > own.len() && below(name, other).is_some());
        let is_stream = || self.streams.iter().any(|stream| stream == name);
        (!is_others && !is_stream()).then(|| in_tree(rest))
    }
}

/// Whether all entries of a backup of bk's are in order of their names: a source that lies in
/// another comes after all of that one, but what is below the source `.` comes first.
pub(crate) fn is_in_order(backup: &Backup) -> bool {
    // In the archive, the first source that lies in another follows that one.
    texts(backup, "source_entries").is_some_and(|names| {
        names
            .windows(2)
            .all(|pair| pair[0] == "." || below(pair[1].as_bytes(), pair[0].as_bytes()).is_none())
    })
}

/// A list of texts in the metadata; `None` where there is none.
pub(crate) fn texts<'b>(backup: &'b Backup, key: &str) -> Option<Vec<&'b str>> {
    let values = backup.backup_metadata.get(key)?.as_array()?;
    values.iter().map(Value::as_str).collect()
}
