//! GNU tar, bsdtar and Python's tarfile as judges: where all three restore the same, bk does.
//!
//! Compares what was restored as find(1) and sha256sum(1) tell it, owners by number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{Sandbox, has};

const PYTHON: &str = "
import sys, tarfile
archive = tarfile.open(sys.argv[1], 'r:gz')
if hasattr(tarfile, 'fully_trusted_filter'):
    archive.extraction_filter = tarfile.fully_trusted_filter
archive.extractall(sys.argv[2], numeric_owner=True)
";

/// By NUL and newlines: name, kind, permissions, owner, size, seconds of the time, target, names.
const FACTS: &str = r"find . -mindepth 1 -printf '%P\0%y\0%m\0%U:%G\0%s\0%Ts\0%l\0%n\0'";

/// What stands at each name, in words.
pub type Tree = BTreeMap<Vec<u8>, String>;

/// What became of an archive with one of the programs.
#[derive(Debug)]
pub struct Restored {
    /// Whether the program said that all is well.
    pub is_ok: bool,
    pub tree: Tree,
    pub stderr: String,
}

/// Whether all judges are installed.
pub fn has_judges() -> bool {
    has("bsdtar") & has("python3")
}

/// The archive `a.tar.gz` of the sandbox, restored by each of the judges and by bk.
pub fn restore_by_all(sandbox: &Sandbox) -> ([Restored; 3], Restored) {
    sandbox.write("restore.py", PYTHON);
    let judges = [
        "tar -xpzf a.tar.gz --numeric-owner -C out",
        "bsdtar -xpzf a.tar.gz --numeric-owner -C out",
        "python3 restore.py a.tar.gz out",
    ];
    let judges = judges.map(|line| restore(sandbox, &format!("mkdir out && {line}")));
    let bk = "bk-adopt --json a.tar.gz >/dev/null && bk-verify --deep --json a >/dev/null && bk-restore --json --numeric-owner --devices -C out a";
    sandbox.ok("rm -rf home");
    (judges, restore(sandbox, bk))
}

fn restore(sandbox: &Sandbox, line: &str) -> Restored {
    sandbox.ok("chmod -R u+rwx out 2>/dev/null; rm -rf out");
    let ran = sandbox.run(&format!("timeout 60 sh -c '{line}'"));
    Restored {
        is_ok: ran.status == 0,
        tree: tree(sandbox, &sandbox.path("out")),
        stderr: ran.stderr,
    }
}

fn tree(sandbox: &Sandbox, dir: &Path) -> Tree {
    let mut tree = Tree::new();
    if !dir.exists() {
        return tree;
    }
    let mut find = sandbox.command("bash");
    let found = find.current_dir(dir).args(["-c", FACTS]).output().unwrap();
    let fields: Vec<&[u8]> = found.stdout.split(|byte| *byte == 0).collect();
    for entry in fields.chunks_exact(8) {
        let text = |at: usize| String::from_utf8_lossy(entry[at]).into_owned();
        // The size and the names of a directory are the file system's own matter.
        let facts = match entry[1] {
            b"d" => [1, 2, 3, 5].map(text).join(" "),
            b"l" => [1, 3, 5, 6].map(text).join(" "),
            b"f" => {
                let facts = [1, 2, 3, 4, 5, 7].map(text).join(" ");
                format!("{facts} {}", content(sandbox, dir, entry[0]))
            }
            _ => [1, 2, 3, 5, 7].map(text).join(" "),
        };
        tree.insert(entry[0].to_owned(), facts);
    }
    tree
}

/// Its hash; of what is too large to be read, whether that is mostly holes.
fn content(sandbox: &Sandbox, dir: &Path, name: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let path = dir.join(std::ffi::OsStr::from_bytes(name));
    let metadata = path.symlink_metadata().unwrap();
    if metadata.size() > 64 << 20 {
        let is_mostly_holes = metadata.blocks() < metadata.size() / 512 / 10;
        return format!("mostly holes: {is_mostly_holes}");
    }
    let mut sum = sandbox.command("sha256sum");
    let out = sum.arg("-b").stdin(fs::File::open(path).unwrap()).output();
    String::from_utf8_lossy(&out.unwrap().stdout)[..64].to_owned()
}

/// How bk differs where all judges are of one mind; empty where it does not. Directories that no
/// entry tells of are as each program likes them.
pub fn differences(sandbox: &Sandbox, judges: &[Restored; 3], bk: &Restored) -> Vec<String> {
    if !judges.iter().all(|judge| judge.is_ok) {
        return Vec::new();
    }
    let told: BTreeSet<String> = sandbox
        .run("bk-ls --files --json a")
        .records()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap().to_owned())
        .map(|path| {
            path.trim_start_matches("./")
                .trim_start_matches('/')
                .to_owned()
        })
        .collect();
    let mut all = Vec::new();
    if !bk.is_ok {
        all.push(format!("bk failed: {}", bk.stderr.trim()));
    }
    let mut names: BTreeSet<_> = bk.tree.keys().collect();
    names.extend(judges[0].tree.keys());
    for name in names {
        let by = |restored: &Restored| restored.tree.get(name).cloned();
        let expected = by(&judges[0]);
        let is_agreed = judges.iter().all(|judge| by(judge) == expected);
        let shown = String::from_utf8_lossy(name).into_owned();
        let is_implied =
            expected.as_ref().is_some_and(|it| it.starts_with('d')) && !told.contains(&shown);
        if is_agreed && !is_implied && by(bk) != expected {
            let (bk, expected) = (by(bk), expected);
            all.push(format!("'{shown}' is {bk:?}, and should be {expected:?}"));
        }
    }
    all
}
