//! The archives that other projects ship for their own tests, against GNU tar, bsdtar and Python.
//!
//! Takes those that are installed here, as Debian's and Python's packages have them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::oracle::{differences, has_judges, restore_by_all};
use crate::support::{Sandbox, has};

/// Where packages put such archives, as a shell reads it; more can be named in the environment.
const PLACES: &str = "
    /usr/share/go-*/src/archive/tar/testdata
    /usr/lib/python3*/test /usr/lib/python3*/test/archivetestdata
    /usr/local/lib/python3*/test /usr/local/lib/python3*/test/archivetestdata
    $HOME/.pyenv/versions/*/lib/python3*/test $HOME/.pyenv/versions/*/lib/python3*/test/archivetestdata
    /usr/lib/node_modules/*/test /usr/share/nodejs/*/test
    $BK_TEST_ARCHIVES";

/// Where bk is right to differ: the name of the archive, how the difference begins, and why.
const ALLOWED: &[(&str, &str, &str)] = &[];

fn archives() -> Vec<PathBuf> {
    let line = format!(
        "find $(ls -d {} 2>/dev/null) -maxdepth 3 -name '*.tar' 2>/dev/null | sort -u",
        PLACES.replace('\n', " ")
    );
    let found = std::process::Command::new("bash")
        .args(["-c", &line])
        .output();
    let text = String::from_utf8(found.unwrap().stdout).unwrap();
    text.lines().map(PathBuf::from).collect()
}

fn is_allowed(archive: &Path, difference: &str) -> bool {
    let name = archive.file_name().unwrap().to_str().unwrap();
    let mut allowed = ALLOWED.iter();
    allowed.any(|(file, begin, _)| *file == name && difference.starts_with(begin))
}

#[test]
#[ignore = "restores each archive by four programs: half a minute"]
fn archives_that_others_ship_are_restored_as_tar_does() {
    if !has_judges() || !has("gzip") {
        return;
    }
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    for archive in archives() {
        let bytes = fs::read(&archive).unwrap();
        // The same ones are in each version of Python.
        if seen.contains(&bytes) {
            continue;
        }
        let sandbox = Sandbox::new();
        fs::copy(&archive, sandbox.path("a.tar")).unwrap();
        sandbox.ok("gzip -n a.tar");
        let (judges, bk) = restore_by_all(&sandbox);
        let all = differences(&sandbox, &judges, &bk).into_iter();
        let all = all.filter(|difference| !is_allowed(&archive, difference));
        wrong.extend(all.map(|difference| format!("{}: {difference}", archive.display())));
        seen.push(bytes);
    }
    println!("{} archives were compared", seen.len());
    if seen.is_empty() {
        println!("skipped: neither libpython3-testsuite nor golang-src is installed");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
