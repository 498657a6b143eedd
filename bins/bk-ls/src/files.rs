//! The contents of archives: for each entry one JSON line, or one row as `tar -tv` prints it.
//!
//! Reads archives as streams. Knows no catalog.

use std::fs::File;

use anyhow::{Context, Result, bail};
use bk_archive::format::entry::{Entry, Kind};
use bk_archive::read::entries::Entries;
use bk_archive::{hashed, threads};
use bk_cli::listing::{FileStatus, Listed};
use bk_cli::output::base64;
use bk_cli::{Output, Tone, copies};
use bk_schema::record::{Backup, Status};
use bk_schema::visible::visible;
use bk_store::archives;
use bk_store::home::Home;
use bk_store::manifest::reader::Reader;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::flags::PROGRAM;

/// The minimum width of owner and size together, as in GNU tar.
const OWNER_AND_SIZE_WIDTH: usize = 19;

/// One entry as a JSON line; bk-record(5) describes the keys.
#[derive(Serialize)]
struct FileLine<'a> {
    id: i64,
    backup_name: &'a str,
    path: String,
    /// Only if the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    r#type: &'static str,
    size: u64,
    /// Null if it is out of the range of a timestamp.
    mtime: Option<Timestamp>,
    mode: String,
    uid: u32,
    gid: u32,
    uname: String,
    gname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// Only if the link is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_base64: Option<String>,
}

/// Where the entries of a backup come from: the answer is the same.
enum Source {
    Manifest(Box<Reader>, std::vec::IntoIter<bk_schema::manifest::Entry>),
    Archive(Box<Entries>),
}

impl Source {
    fn next_entry(&mut self) -> Result<Option<Entry>> {
        match self {
            Self::Archive(entries) => entries.next_entry(),
            Self::Manifest(reader, rows) => loop {
                if let Some(row) = rows.next() {
                    return Ok(Some(Entry::from_manifest(row)));
                }
                match reader.next_segment()? {
                    Some(segment) => *rows = segment.entries.into_iter(),
                    None => return Ok(None),
                }
            },
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Archive(entries) => entries.notes(),
            // Archives with notes have none.
            Self::Manifest(..) => Vec::new(),
        }
    }
}

/// Prints the entries of each backup; calls `failed` for an archive that cannot be read.
pub(crate) fn print(
    output: &mut Output,
    home: &Home,
    all: &[Listed],
    mut failed: impl FnMut(anyhow::Error),
) -> Result<()> {
    for (at, listed) in all.iter().enumerate() {
        let backup = &listed.backup;
        if output.is_table() && all.len() > 1 {
            let head = output.painted(&format!("{}:", visible(&backup.backup_name)), Tone::Head);
            let space = if at > 0 { "\n" } else { "" };
            output.text(&format!("{space}{head}\n"))?;
        }
        let opened = open(home, listed);
        let listed = match opened {
            Ok(mut entries) => {
                let listed = print_entries(output, backup, || entries.next_entry())?;
                for note in entries.notes() {
                    PROGRAM.warn(&format!("note: '{}': {note}", backup.backup_name));
                }
                listed
            }
            Err(error) => Err(error),
        };
        if let Err(error) = listed {
            let name = backup.backup_name.escape_debug();
            failed(error.context(format!("cannot list the files of '{name}'")));
        }
        if output.is_closed() {
            break;
        }
    }
    output.flush()
}

fn open(home: &Home, listed: &Listed) -> Result<Source> {
    let backup = &listed.backup;
    let path = backup.backup_path.escape_debug();
    match (backup.status, listed.file_status) {
        (Status::Creating | Status::Failed, _) => {
            bail!(backup.status.obstacle().unwrap_or_default())
        }
        (_, FileStatus::Remote) => {
            let obstacle = copies::remote_obstacle(home, backup);
            bail!(obstacle.unwrap_or_else(|| format!("its archive '{path}' comes just now")))
        }
        (_, FileStatus::Missing) => bail!("its archive '{path}' is missing"),
        (_, FileStatus::Offline) => bail!("its archive '{path}' cannot be reached"),
        _ => {
            let jobs = threads::available();
            let file = archives::open::open(backup, hashed::open).and_then(|file| {
                let is_file = file.metadata()?.is_file();
                let wrong = || std::io::Error::other("it is not a regular file");
                is_file.then_some(file).ok_or_else(wrong)
            });
            let entries = file.map_err(anyhow::Error::from).and_then(|file| {
                if let Some(reader) = manifest_of(home, backup, &file) {
                    return Ok(Source::Manifest(Box::new(reader), Vec::new().into_iter()));
                }
                let entries = Entries::read(&file, None, jobs, false, &|| false)?;
                Ok(Source::Archive(Box::new(entries)))
            });
            entries.with_context(|| format!("'{path}'"))
        }
    }
}

/// The manifest, if it is as it was written, and the archive may still be that which it is of.
fn manifest_of(home: &Home, backup: &Backup, file: &File) -> Option<Reader> {
    let hash = backup.backup_hash.as_deref()?;
    let manifest_hash = backup.backup_metadata.get("manifest_hash")?.as_str()?;
    if file.metadata().ok()?.len() != backup.backup_size? {
        return None;
    }
    // It is a cache: whatever is wrong with it, the archive is read.
    Reader::open(home, hash, Some(manifest_hash)).ok()?
}

/// The outer error is about the output, the inner one about the archive.
fn print_entries(
    output: &mut Output,
    backup: &Backup,
    mut next: impl FnMut() -> Result<Option<Entry>>,
) -> Result<Result<()>> {
    let zone = bk_cli::zone::local();
    let mut width = OWNER_AND_SIZE_WIDTH;
    while !output.is_closed() {
        let path = || format!("'{}'", backup.backup_path.escape_debug());
        let entry = match next().with_context(path) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        };
        if output.is_table() {
            let row = row(&entry, &zone, &mut width);
            output.text(&row)?;
        } else {
            output.line(&line(backup, &entry))?;
        }
    }
    Ok(Ok(()))
}

fn line<'a>(backup: &'a Backup, entry: &Entry) -> FileLine<'a> {
    let is_text = str::from_utf8(&entry.path).is_ok();
    FileLine {
        id: backup.id,
        backup_name: &backup.backup_name,
        path: text(&entry.path),
        path_base64: (!is_text).then(|| base64(&entry.path)),
        r#type: kind(&entry.kind).1,
        size: entry.size,
        mtime: entry.mtime.timestamp(),
        mode: format!("{:04o}", entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        uname: text(&entry.uname),
        gname: text(&entry.gname),
        link: link(&entry.kind).map(text),
        link_base64: link(&entry.kind)
            .filter(|target| str::from_utf8(target).is_err())
            .map(base64),
    }
}

/// A row as in `tar -tv`: mode, owner, size, local time, name. Owner and size share a column, whose
/// `width` grows when an entry needs more.
fn row(entry: &Entry, zone: &TimeZone, width: &mut usize) -> String {
    let name_or = |name: &[u8], id: u32| match name {
        [] => id.to_string(),
        name => visible(&text(name)),
    };
    let owner = format!(
        "{}/{}",
        name_or(&entry.uname, entry.uid),
        name_or(&entry.gname, entry.gid)
    );
    let size = match entry.kind {
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            format!("{major},{minor}")
        }
        _ => entry.size.to_string(),
    };
    *width = (*width).max(owner.len() + 1 + size.len());
    let size_width = *width - owner.len();
    let time = entry.mtime.timestamp().map_or("-".to_owned(), |time| {
        let local = time.to_zoned(zone.clone());
        local.strftime("%Y-%m-%d %H:%M").to_string()
    });
    let arrow = match entry.kind {
        Kind::HardLink(_) => " link to ",
        _ => " -> ",
    };
    let link = link(&entry.kind).map(|target| format!("{arrow}{}", visible(&text(target))));
    format!(
        "{}{} {owner}{size:>size_width$} {time:16} {}{}\n",
        kind(&entry.kind).0,
        permissions(entry.mode),
        visible(&text(&entry.path)),
        link.unwrap_or_default()
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn link(kind: &Kind) -> Option<&[u8]> {
    match kind {
        Kind::HardLink(target) | Kind::Symlink(target) => Some(target),
        _ => None,
    }
}

/// The letter in `tar -tv`, and the name in JSON.
fn kind(kind: &Kind) -> (char, &'static str) {
    match kind {
        Kind::File { .. } => ('-', "file"),
        Kind::HardLink(_) => ('h', "hardlink"),
        Kind::Symlink(_) => ('l', "symlink"),
        Kind::Directory => ('d', "directory"),
        Kind::Fifo => ('p', "fifo"),
        Kind::CharDevice(..) => ('c', "char-device"),
        Kind::BlockDevice(..) => ('b', "block-device"),
    }
}

/// `rwxr-xr-x` as in ls(1), with `s` and `t` for setuid, setgid and sticky bits.
fn permissions(mode: u32) -> String {
    let special = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')];
    let mut text = String::new();
    for (class, (bit, letter)) in special.into_iter().enumerate() {
        let bits = mode >> (6 - 3 * class);
        let executes = bits & 1 != 0;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, executes) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_shown_as_ls_shows_them() {
        for (mode, text) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o2640, "rw-r-S---"),
            (0o1777, "rwxrwxrwt"),
            (0o1000, "--------T"),
        ] {
            assert_eq!(permissions(mode), text);
        }
    }
}
