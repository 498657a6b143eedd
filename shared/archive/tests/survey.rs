//! What a manifest tells of an archive, read from the archive itself.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::process::Command;

use anyhow::Result;
use bk_archive::hashed::Whole;
use bk_archive::read::survey::survey;

/// `a` stands twice, of which the last one counts; whether it is stopped at once is up to `stops`.
fn surveyed(cut: &str, stops: bool) -> (Vec<(String, u64)>, Result<Whole>, String) {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "set -e; mkdir d; echo 1 >a; ln -s a d/link; tar -cf x.tar a d; echo 234 >a; tar -rf x.tar a
         gzip -nc x.tar >x.tar.gz; {cut}; sha256sum <x.tar.gz"
    );
    let mut shell = Command::new("sh");
    let ran = shell.args(["-c", &script]).current_dir(&dir).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let mut entries = Vec::new();
    let whole = survey(
        &File::open(dir.path().join("x.tar.gz")).unwrap(),
        2,
        &mut |segment| {
            assert!(segment.members.is_empty());
            let [entry] = &segment.entries[..] else {
                panic!("{segment:?}");
            };
            assert_eq!(entry.source, None);
            let path = String::from_utf8(entry.path.clone()).unwrap();
            entries.push((path, entry.size));
        },
        &|| stops,
    );
    let hash = String::from_utf8(ran.stdout).unwrap()[..64].to_owned();
    (entries, whole, hash)
}

#[test]
fn the_entries_that_count_are_told_and_the_archive_is_hashed() {
    let (entries, whole, hash) = surveyed(":", false);
    let expected = [("d", 0), ("d/link", 0), ("a", 4)];
    assert_eq!(
        entries,
        expected.map(|(path, size)| (path.to_owned(), size))
    );
    assert_eq!(whole.unwrap().hash, hash);
}

#[test]
fn a_damaged_one_and_a_stop_are_errors() {
    assert!(surveyed("truncate -s 100 x.tar.gz", false).1.is_err());
    let stopped = surveyed(":", true).1.unwrap_err();
    assert_eq!(stopped.to_string(), "interrupted");
}
