//! What a record says of how its backup was made, beside what was asked for.
//!
//! Pure functions; knows no catalog.

use std::os::unix::ffi::OsStrExt;

use bk_archive::write::writer::Summary;
use bk_cli::output::base64;
use bk_schema::host;
use bk_schema::record::{Backup, Status};
use serde_json::{Map, Value, json};

use crate::plan::Plan;
use crate::sources::lossy;
use crate::unseen::TRUSTED;
use crate::watch::Problems;

/// The metadata at the birth of a backup.
pub(crate) fn metadata(plan: &Plan<'_>, host: String) -> Map<String, Value> {
    let (request, sources) = (plan.request, &plan.sources);
    let mut metadata = request.metadata.clone();
    metadata.insert("sources".into(), sources.recorded.clone());
    let paths = &sources.absolute;
    if paths.iter().any(|path| path.to_str().is_none()) {
        let encoded = paths.iter().map(|path| base64(path.as_os_str().as_bytes()));
        metadata.insert("sources_base64".into(), encoded.collect());
    }
    if let Some(stream) = &request.stream {
        metadata.insert("source_entries".into(), json!([stream.filename]));
        metadata.insert("stdin_filename".into(), stream.filename.clone().into());
        if let Some(first) = stream.command.iter().flatten().next() {
            // The first word alone: the others may hold passwords.
            metadata.insert("command".into(), first.to_string_lossy().into());
        }
    } else {
        let names = lossy(sources.stored.iter().map(|it| &it.name));
        metadata.insert("source_entries".into(), names.into());
    }
    metadata.insert(host::KEY.into(), host.into());
    let excludes = &plan.settings.excludes;
    if request.stream.is_none() && !excludes.is_empty() {
        metadata.insert("excludes".into(), excludes.clone().into());
        if !plan.unmatched.is_empty() {
            metadata.insert("unmatched_excludes".into(), plan.unmatched.clone().into());
        }
    }
    if plan.hides_attributes {
        metadata.insert("unseen_attributes".into(), json!([TRUSTED]));
    }
    metadata
}

/// The record of a backup whose archive is complete.
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
