//! A few paths out of an archive: the same as if all of it were read, and little of it is.
//!
//! Archives that lie about where their members are and what they hold are in seek_hostile.rs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::support::{Ran, Sandbox, can_trace, stride};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Names that sort about the slash, and one that is no text.
const PARTS: [&[u8]; 9] = [
    b"a",
    b"a-",
    b"a.",
    b"a b",
    b"aa",
    b"-b",
    b".c",
    b"a\xff",
    b"\xc3\xa9",
];

/// What a file of the property holds.
#[derive(Debug, Clone)]
enum Made {
    /// So many bytes.
    File(usize),
    /// A tar of so many files, whose headers stand where those of an archive could.
    Tar(usize),
    /// A further name of the file with this number, if there is one.
    Hard(usize),
    Symbolic,
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        4 => (0usize..2000).prop_map(Made::File),
        6 => (50_000usize..500_000).prop_map(Made::File),
        1 => (1_000_000usize..4_000_000).prop_map(Made::File),
        1 => (1usize..2000).prop_map(Made::Tar),
        2 => any::<usize>().prop_map(Made::Hard),
        1 => Just(Made::Symbolic),
    ]
}

/// The name of parts, below a directory.
fn name_of(base: &str, parts: &[usize]) -> PathBuf {
    let mut name = PathBuf::from(base);
    for part in parts {
        name.push(OsStr::from_bytes(PARTS[*part]));
    }
    name
}

/// Makes a tree below the sandbox; a name that is taken by something else is passed over.
fn grow(sandbox: &Sandbox, tree: &[(Vec<usize>, Made)]) {
    fs::create_dir(sandbox.path("app")).unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    for (parts, made) in tree {
        let path = sandbox.path("").join(name_of("app", parts));
        let is_free =
            fs::create_dir_all(path.parent().unwrap()).is_ok() && path.symlink_metadata().is_err();
        if !is_free {
            continue;
        }
        let noise = |bytes: usize| {
            let mut state = files.len() as u64 + 1;
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            };
            (0..bytes).map(|_| next()).collect::<Vec<_>>()
        };
        match made {
            Made::File(bytes) => fs::write(&path, noise(*bytes)).unwrap(),
            Made::Tar(count) => {
                let mut tar = crate::support::tarball::Tarball::new();
                for _ in 0..*count {
                    tar = tar.file("app/a", "not the one that is meant\n");
                }
                fs::write(&path, tar.finish()).unwrap();
            }
            Made::Hard(number) if !files.is_empty() => {
                fs::hard_link(&files[number % files.len()], &path).unwrap();
            }
            Made::Hard(_) => continue,
            Made::Symbolic => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
        }
        if !path.is_symlink() {
            files.push(path);
        }
    }
}

/// All of a tree: kinds, modes, sizes, links, times and content; of directories no times, as
/// those that are not asked for have the time of the restoration.
fn facts(sandbox: &Sandbox, place: impl AsRef<OsStr>) -> Vec<u8> {
    const FACTS: &str = r#"[ -e "$0" ] || [ -L "$0" ] || exit 0
        find "$0" -type d -printf '%P %y %m\n' -o -printf '%P %y %m %s %l %T@\n' | LC_ALL=C sort
        find "$0" -type f -print0 | LC_ALL=C sort -z | xargs -0r cat | sha256sum"#;
    let mut command = sandbox.command("bash");
    let output = command.args(["-c", FACTS]).arg(place).output().unwrap();
    assert!(output.status.success(), "{:#?}", Ran::new(FACTS, output));
    output.stdout
}

/// Paths and whether they are given as globs.
type Wanted = Vec<(Vec<usize>, bool)>;

/// Restores what is wanted; returns status, stderr, and how many entries and bytes.
fn restore(sandbox: &Sandbox, out: &str, base: &str, wanted: &Wanted) -> (i32, String, String) {
    let mut command = sandbox.command("bk-restore");
    command.args(["--json", "-C", out, "a"]);
    let mut paths = Vec::new();
    for (parts, is_glob) in wanted {
        let name = name_of(base, parts);
        match name.to_str() {
            Some(text) if *is_glob => {
                command.arg(format!("--path=/{text}*"));
            }
            _ => paths.push(name),
        }
    }
    let ran = Ran::new(out, command.arg("--").args(paths).output().unwrap());
    let told = ran.records();
    let counts = told.first().map(|it| &it["restore"]);
    let counts = counts.map(|it| format!("{} {}", it["entries"], it["bytes"]));
    (ran.status, ran.stderr, counts.unwrap_or_default())
}

/// Makes it be read whole from here on: nothing tells that its entries are in one order.
fn forget_order(sandbox: &Sandbox) {
    sandbox.sql("UPDATE backup_records SET backup_metadata = '{}'");
}

/// Where the names begin, and what is backed up: one directory, that as `.`, and with others
/// that lie in it and so come after all of it.
const SOURCES: [(&str, &str); 4] = [
    ("app", "app"),
    ("", "-C app ."),
    (
        "app",
        "app $(find app -mindepth 1 -maxdepth 1 -type d | head -n 1)",
    ),
    (
        "app",
        "app $(find app -type d -name 'a.' | head -n 1) $(find app -type f -name a | head -n 1)",
    ),
];

#[test]
fn some_paths_are_what_they_are_when_all_is_read() {
    let name = || vec(0..PARTS.len(), 1..4);
    let trees = (
        vec((name(), made()), 10..60),
        vec(vec((name(), any::<bool>()), 1..4), 6),
        0..4usize,
    );
    let config = Config {
        cases: 6 / stride(3) as u32,
        failure_persistence: None,
        ..Config::default()
    };
    let statuses = RefCell::new(BTreeSet::new());
    TestRunner::new(config)
        .run(&trees, |(tree, mut all_wanted, sources)| {
            let sandbox = Sandbox::new();
            grow(&sandbox, &tree);
            // A random name is seldom there.
            for (number, wanted) in all_wanted.iter_mut().enumerate() {
                wanted[0].0.clone_from(&tree[number * 7 % tree.len()].0);
                if number % 2 == 0 {
                    wanted.truncate(1);
                }
            }
            let (base, sources) = SOURCES[sources];
            sandbox.ok(&format!("IFS=$'\\n'; bk-create --name a {sources}"));
            let sought = all_wanted.iter().enumerate().map(|(number, wanted)| {
                restore(&sandbox, &format!("sought{number}"), base, wanted)
            });
            let sought: Vec<_> = sought.collect();
            forget_order(&sandbox);
            for (number, (wanted, sought)) in all_wanted.iter().zip(sought).enumerate() {
                let told = restore(&sandbox, &format!("whole{number}"), base, wanted);
                statuses.borrow_mut().insert(told.0);
                prop_assert_eq!(&sought, &told, "{:?}", wanted);
                let trees = ["sought", "whole"].map(|it| facts(&sandbox, format!("{it}{number}")));
                let shown = trees.each_ref().map(|it| String::from_utf8_lossy(it));
                prop_assert_eq!(&shown[0], &shown[1], "{:?}", wanted);
                let paths = wanted.iter().filter(|(_, is_glob)| !is_glob && told.0 == 0);
                for (parts, _) in paths {
                    let restored = PathBuf::from(format!("sought{number}"));
                    let places = [name_of("app", parts), restored.join(name_of(base, parts))];
                    let places = places.map(|place| facts(&sandbox, place));
                    prop_assert_eq!(&places[0], &places[1], "{:?}", wanted);
                }
            }
            Ok(())
        })
        .unwrap();
    let met = statuses.into_inner();
    assert_eq!(
        met,
        BTreeSet::from([0, 1]),
        "some are there and some are not"
    );
}

/// Where the members of an own archive begin.
fn members(bytes: &[u8]) -> Vec<usize> {
    let mut begins = vec![0];
    while let Some(told) = bytes
        .get(begins[begins.len() - 1] + 16..)
        .and_then(|it| it.first_chunk())
    {
        begins.push(begins[begins.len() - 1] + u32::from_le_bytes(*told) as usize);
    }
    assert_eq!(begins.pop(), Some(bytes.len()));
    begins
}

/// Forty files that share members, large ones between them, and one that links to the first.
fn with_many() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::new();
    sandbox.ok(
        "mkdir app; for n in {10..49}; do head -c 200000 /dev/urandom >app/$n; done
        for n in 20 30 40; do head -c 3000000 /dev/urandom >app/$n-large; done
        ln app/10 app/99; bk-create --name a app",
    );
    let bytes = fs::read(sandbox.archive("a")).unwrap();
    (sandbox, bytes)
}

#[test]
fn only_what_is_needed_is_inflated() {
    let (sandbox, whole) = with_many();
    let begins = members(&whole);
    assert!(begins.len() > 14, "{begins:?}");
    // Each: how many members it may take beside the first and the last.
    for (path, at_most) in [
        ("app/25", 1),
        ("app/30-large", 3),
        ("app/99", 2),
        ("app/2*", 16),
    ]
    .into_iter()
    .step_by(stride(4))
    {
        let mut needed = Vec::new();
        for (number, begin) in begins.iter().enumerate() {
            let end = begins.get(number + 1).copied().unwrap_or(whole.len());
            let mut bytes = whole.clone();
            // The checksum of the member.
            bytes[end - 8] ^= 1;
            fs::write(sandbox.archive("a"), &bytes).unwrap();
            let line = format!("rm -rf out; bk-restore --no-verify -C out --path '{path}' a");
            let ran = sandbox.run(&line);
            if ran.status == 0 {
                sandbox.ok(&format!("for f in out/{path}; do cmp $f ${{f#out/}}; done"));
            } else {
                let told = format!("(at byte {begin} of the file)");
                assert!(ran.stderr.contains(&told), "{path}: {ran:#?}");
                needed.push(number);
            }
        }
        let last = begins.len() - 1;
        assert!(needed.contains(&0) && needed.contains(&last), "{needed:?}");
        assert!(needed.len() <= at_most + 2, "{path}: {needed:?}");
        assert!(needed.len() > 2, "{path}: {needed:?}");
    }
}

#[test]
#[ignore = "half a minute: make test-long"]
fn one_file_is_printed_from_its_own_members() {
    let (sandbox, whole) = with_many();
    let begins = members(&whole);
    let mut failed = Vec::new();
    for number in 1..begins.len() - 1 {
        let mut bytes = whole.clone();
        bytes[begins[number + 1] - 8] ^= 1;
        fs::write(sandbox.archive("a"), &bytes).unwrap();
        let line = "bk-restore --no-verify --stdout app/99 a >printed && cmp printed app/10";
        if sandbox.run(line).status != 0 {
            failed.push(number);
        }
    }
    assert_eq!(
        failed.len(),
        2,
        "{failed:?}: that of app/99 and that of app/10"
    );
}

/// The bytes of the archive that a command line reads.
fn read_bytes(sandbox: &Sandbox, line: &str) -> usize {
    let archive = sandbox.archive("a");
    let traced = format!(
        "strace -f --seccomp-bpf -e trace=read,pread64 -P {} -o trace {line}",
        archive.canonicalize().unwrap().display()
    );
    sandbox.ok(&traced);
    let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
    let counts = trace.lines().filter_map(|line| line.rsplit_once(" = "));
    counts
        .filter_map(|(_, count)| count.parse::<usize>().ok())
        .sum()
}

#[test]
fn the_archive_is_read_once_to_be_hashed_and_in_parts_after_that() {
    if !can_trace() {
        return;
    }
    let (sandbox, whole) = with_many();
    let parts = read_bytes(&sandbox, "bk-restore --no-verify -C out a -- app/25");
    assert!(parts < whole.len() / 4, "{parts} of {}", whole.len());
    let with_hash = read_bytes(&sandbox, "bk-restore -C out2 a -- app/25");
    assert!(with_hash >= whole.len() + parts / 2, "{with_hash}");
    assert!(with_hash < whole.len() * 5 / 4, "{with_hash}");
}

/// Nothing of it is restored that was not checked, though no more than a part is read again.
#[test]
fn an_archive_that_is_written_to_after_its_hash_was_checked_is_told() {
    if !can_trace() {
        return;
    }
    let (sandbox, whole) = with_many();
    let archive = sandbox.archive("a").canonicalize().unwrap();
    let slow = |meanwhile: &str| {
        let archive = archive.display();
        sandbox.run(&format!(
            "rm -rf out; strace -f --seccomp-bpf -o trace -P {archive} -e trace=pread64 \
             -e inject=pread64:delay_enter=4000000:when=1 bk-restore -C out a -- app/25 & \
             sleep 2; {meanwhile}; wait $!"
        ))
    };
    // In a member that is not needed.
    let at = whole.len() / 4;
    let ran = slow(&format!(
        "printf XXXX | dd of={} bs=1 seek={at} conv=notrunc status=none",
        archive.display()
    ));
    let told = format!(
        "bk-restore: cannot restore 'a': its archive '{}' is not what was recorded: its SHA-256 differs; bk-verify shows more, --no-verify restores what can be read\n",
        sandbox.archive("a").display()
    );
    ran.fails(1, &told);
    assert!(!Path::new(&sandbox.path("out")).exists());
    fs::write(&archive, &whole).unwrap();
    let ran = slow(&format!("rm {}", archive.display()));
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    sandbox.ok("cmp out/app/25 app/25");
}
