//! The table of a manifest: where its file is, and its columns.
//!
//! Knows no entry.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::archives::open::is_absent;
use crate::home::Home;
use crate::working_copy;

/// The columns, in their order, with their types. For people they are documented in bk-record(5).
pub(super) const COLUMNS: &[(&str, &str)] = &[
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

/// Of the columns and of what is packed into the last one. One of another version is not read.
pub(super) const VERSION: &str = "3";

/// The format of a manifest that was made from an archive, which does not tell how it was made.
pub const FROM_ARCHIVE: &str = "read from the archive";

/// So many rows are compressed together, and read together.
pub(super) const ROW_GROUP_ROWS: usize = 8_192;

/// Where manifests are.
pub(super) fn dir(home: &Home) -> PathBuf {
    home.dir.join("manifests")
}

/// The manifest of the archive with a hash.
pub(super) fn path(home: &Home, archive_hash: &str) -> PathBuf {
    dir(home).join(format!("{archive_hash}.parquet"))
}

/// Whether DuckDB takes the paths in a home, and what it makes of them where they hold links.
pub(super) fn is_possible(home: &Home) -> bool {
    let real = home.dir.canonicalize().unwrap_or_default();
    ![&home.dir, &real]
        .into_iter()
        .any(|dir| working_copy::is_needed(dir))
}

/// A text in SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Opens what may be a manifest: `None` where no regular file is. Waits for nobody at a FIFO.
///
/// # Errors
/// Those of the file system.
pub(super) fn open(place: &Path) -> std::io::Result<Option<File>> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32);
    match options.open(place) {
        Err(error) if is_absent(&error) => Ok(None),
        opened => {
            let file = opened?;
            Ok(file.metadata()?.is_file().then_some(file))
        }
    }
}

/// In lower-case hex.
pub(super) fn sha256(file: &File) -> std::io::Result<String> {
    let (mut hash, mut at) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                at += count as u64;
            }
        }
    }
    let hash = hash.finalize();
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}
