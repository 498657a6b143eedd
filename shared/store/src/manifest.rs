//! Manifests: a Parquet file for each archive, named for the archive's hash.
//!
//! A cache: what is missing is made anew from the archive, and what belongs to no record is swept away
//! by the next writer. Read and written by DuckDB in a connection of its own, which may touch that
//! directory and nothing else. Knows no archive format.

pub mod reader;
pub mod sweep;
pub mod writer;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use duckdb::{Config, Connection};

use crate::home::Home;
use crate::working_copy;

/// The columns, in their order, with their types. For people they are documented in bk-record(5).
const COLUMNS: &[(&str, &str)] = &[
    ("path", "VARCHAR"),
    ("path_bytes", "BLOB"),
    ("type", "VARCHAR"),
    ("size", "UBIGINT"),
    ("data_bytes", "UBIGINT"),
    ("mode", "UINTEGER"),
    ("uid", "UINTEGER"),
    ("gid", "UINTEGER"),
    ("uname", "VARCHAR"),
    ("gname", "VARCHAR"),
    ("mtime", "TIMESTAMP"),
    ("mtime_nanos", "USMALLINT"),
    ("ctime", "TIMESTAMP"),
    ("ctime_nanos", "USMALLINT"),
    ("inode", "UBIGINT"),
    ("device", "UBIGINT"),
    ("link_target", "VARCHAR"),
    ("link_target_bytes", "BLOB"),
    ("device_major", "UINTEGER"),
    ("device_minor", "UINTEGER"),
    ("problem", "VARCHAR"),
    ("segment_offset", "UBIGINT"),
    ("segment_bytes", "UBIGINT"),
    ("segment_members", "BLOB"),
];

/// What DuckDB may take for rows, its own needs aside: beyond it, rows wait in a file.
const MEMORY: &str = "64MB";

/// Where manifests are.
#[must_use]
pub fn dir(home: &Home) -> PathBuf {
    home.dir.join("manifests")
}

/// The manifest of the archive with a hash.
#[must_use]
pub fn path(home: &Home, archive_hash: &str) -> PathBuf {
    dir(home).join(format!("{archive_hash}.parquet"))
}

/// A database in memory that may touch what is in `dir`, and no other file. What does not fit into
/// memory goes to `spill`.
///
/// # Errors
/// A directory whose path DuckDB cannot take.
fn connect(dir: &Path, spill: &str) -> Result<Connection> {
    let text = dir.to_str().filter(|_| !working_copy::is_needed(dir));
    let text = text.with_context(|| {
        let dir = dir.display();
        format!("'{dir}' cannot hold manifests: DuckDB takes no path with a '?', nor one that is not UTF-8")
    })?;
    ensure!(dir.is_absolute(), "'{text}' is not an absolute path");
    let config = Config::default()
        .threads(1)?
        .max_memory(MEMORY)?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?;
    let connection = Connection::open_in_memory_with_flags(config)?;
    connection.execute_batch(&format!(
        "SET temp_directory = {}; SET allowed_directories = [{}];
         SET enable_external_access = false; SET lock_configuration = true",
        quoted(spill),
        quoted(&format!("{text}/"))
    ))?;
    Ok(connection)
}

/// A text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bk_schema::manifest::{Entry, EntryType, FileTime, Member, Segment, SourceFile};

    use super::*;

    fn home(dir: &Path) -> Home {
        Home::new(dir.to_owned(), "test", bk_schema::clock::now(), |_, _| {})
    }

    fn entry(number: u64) -> Entry {
        Entry {
            path: format!("srv/app/dir{}/some_file_name_{number}.txt", number / 100).into_bytes(),
            entry_type: EntryType::File,
            size: number * 7919 % 100_000,
            data_bytes: number * 7919 % 100_000,
            mode: 0o644,
            uid: 1000,
            gid: 1000,
            uname: b"user".to_vec(),
            gname: b"user".to_vec(),
            mtime: FileTime {
                secs: 1_700_000_000 + number as i64,
                nanos: (number * 123_457 % 1_000_000_000) as u32,
            },
            link_target: Vec::new(),
            device_numbers: None,
            source: Some(SourceFile {
                ctime: FileTime {
                    secs: 1_700_000_000 + number as i64,
                    nanos: (number * 123_457 % 1_000_000_000) as u32,
                },
                inode: number,
                device: 64768,
            }),
            problem: None,
        }
    }

    #[test]
    #[ignore]
    fn speed() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let rss = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            status
                .lines()
                .filter(|it| it.starts_with("VmHWM"))
                .collect::<String>()
        };
        let begin = std::time::Instant::now();
        let mut writer = writer::Writer::begin(&home, "test").unwrap();
        eprintln!("begun {:?} {}", begin.elapsed(), rss());
        for number in 0..20_000 {
            let entries = (0..50).map(|it| entry(number * 50 + it)).collect();
            writer
                .add(Segment {
                    offset: number * 60_000,
                    members: vec![Member {
                        bytes: 60_000,
                        hash: [number as u8; 32],
                        content_hash: None,
                    }],
                    ends_itself: true,
                    entries,
                })
                .unwrap();
        }
        eprintln!("added {:?} {}", begin.elapsed(), rss());
        let finished = writer.finish().unwrap();
        eprintln!("finished {:?} {}", begin.elapsed(), rss());
        let hash = finished.hash.clone();
        finished.commit(&home, "abc").unwrap();
        let begin = std::time::Instant::now();
        let mut reader = reader::Reader::open(&home, "abc", Some(&hash))
            .unwrap()
            .unwrap();
        let mut count = 0;
        while let Some(segment) = reader.next_segment().unwrap() {
            assert_eq!(segment.entries.len(), 50);
            assert_eq!(segment.entries[7], entry(count * 50 + 7));
            count += 1;
        }
        assert_eq!(count, 20_000);
        eprintln!(
            "read {:?} {} {}",
            begin.elapsed(),
            rss(),
            std::fs::metadata(path(&home, "abc")).unwrap().len()
        );
    }
}
