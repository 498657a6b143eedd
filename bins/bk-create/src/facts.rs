//! What a record tells of how its backup was made, beside what was asked for.
//!
//! Pure functions; knows no catalog.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bk_archive::write::writer::Summary;
use bk_cli::output::base64;
use bk_schema::host;
use bk_schema::record::{Backup, Status};
use serde_json::{Map, Value, json};

use crate::flags::Settings;
use crate::prospect::{Prospect, lossy};
use crate::request::Request;
use crate::unseen::TRUSTED;
use crate::watch::Problems;

/// The metadata at the birth of a backup.
pub(crate) fn metadata(
    request: &Request,
    prospect: &Prospect,
    settings: &Settings,
    host: String,
) -> Map<String, Value> {
    let absolute = || prospect.given.iter().map(|given| given.absolute.as_path());
    let stored = prospect.given.iter();
    let stored = stored.map(|given| given.source.name.as_path());
    let mut metadata = request.metadata.clone();
    metadata.insert("sources".into(), prospect.estimate.sources.clone());
    if absolute().any(|path| path.to_str().is_none()) {
        let encoded: Vec<_> = absolute()
            .map(|path| base64(path.as_os_str().as_bytes()))
            .collect();
        metadata.insert("sources_base64".into(), encoded.into());
    }
    if let Some(stream) = &request.stream {
        metadata.insert("source_entries".into(), json!([stream.filename]));
        metadata.insert("stdin_filename".into(), stream.filename.clone().into());
        if let Some(first) = stream.command.iter().flatten().next() {
            // The first word alone: the others may hold passwords.
            let first = lossy([Path::new(first)].into_iter());
            metadata.insert("command".into(), first.concat().into());
        }
    } else {
        metadata.insert("source_entries".into(), lossy(stored).into());
    }
    metadata.insert(host::KEY.into(), host.into());
    let excludes = settings.filter.excludes();
    if request.stream.is_none() && !excludes.is_empty() {
        metadata.insert("excludes".into(), settings.excludes.clone().into());
        let unmatched = prospect.unmatched.iter();
        let unmatched: Vec<_> = unmatched.map(|number| excludes.text(*number)).collect();
        if !unmatched.is_empty() {
            metadata.insert("unmatched_excludes".into(), unmatched.into());
        }
    }
    if prospect.hides_attributes {
        metadata.insert("unseen_attributes".into(), json!([TRUSTED]));
    }
    metadata
}

/// The record of a backup whose archive is whole.
pub(crate) fn completed(begun: Backup, summary: &Summary, problems: &Problems) -> Backup {
    let mut backup = begun;
    backup.status = Status::Completed;
    backup.backup_size = Some(summary.archive_bytes);
    backup.file_count = Some(summary.file_count);
    backup.backup_hash = Some(summary.hash.clone());
    let metadata = &mut backup.backup_metadata;
    metadata.insert("content_bytes".into(), summary.content_bytes.into());
    problems.put(metadata);
    backup
}
