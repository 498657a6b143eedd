//! Archives that hold too much, twice, or what cannot be: limits hold, bombs are refused before
//! they go off, and nothing outside of the target changes.

use std::fs;

use crate::support::attack::*;
use crate::support::tarball::{Header, Tarball};
use crate::support::{Ran, Sandbox, has};

#[test]
fn of_names_that_come_twice_the_last_counts() {
    let sandbox = sandbox();
    let new = || Tarball::new();
    attack(
        &sandbox,
        vec![
            harmless("files", new().file("f", "x").file("f", "y")),
            harmless(
                "files, differently written",
                new().file("f", "x").file("./f", "y"),
            ),
            harmless("directories", new().dir("d").file("d/x", "x").dir("d")),
            harmless("links", new().symlink("l", "a").symlink("l", "b")),
            harmless("a directory and a file", new().dir("d").file("d", "x")),
            harmless("a file and a directory", new().file("d", "x").dir("d")),
            harmless(
                "a directory after what is in it",
                new().file("d/x", "x").dir("d"),
            ),
        ],
    );
}

#[test]
fn limits_hold() {
    let sandbox = sandbox();
    let new = || Tarball::new();
    let deep = format!("{}x", "d/".repeat(4097));
    let long = format!("n/{}y", "x/".repeat(40_000));
    let many: String = (0..1_000_001u64).map(|n| format!("{},1,", 2 * n)).collect();
    let mut map = b"1000001\n".to_vec();
    for n in 0..1_000_001u64 {
        map.extend_from_slice(format!("{}\n1\n", 2 * n).as_bytes());
    }
    map.resize(map.len().next_multiple_of(512), b'\n');
    let sparse = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"2000002"),
    ];
    attack(
        &sandbox,
        vec![
            harmless("depth", new().gnu(b'L', deep.as_bytes()).file("x", "x")),
            harmless(
                "a long name",
                new().pax(&[("path", long.as_bytes())]).file("x", "x"),
            ),
            harmless("a long header", new().raw_pax(&vec![b'x'; (1 << 20) + 1])),
            harmless(
                "a malformed header",
                new().raw_pax(b"99 x=y\n").file("x", "x"),
            ),
            harmless(
                "many extents in a record",
                new()
                    .pax(&[("GNU.sparse.map", many.as_bytes())])
                    .file("x", "x"),
            ),
            harmless(
                "many extents in a map",
                new()
                    .pax(&sparse)
                    .add(&Header::new(b'0', b"x", map.len() as u64), &map),
            ),
            harmless(
                "extents that overlap",
                new()
                    .pax(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,5,2,4")])
                    .file("x", "123456789"),
            ),
            harmless(
                "an owner that is none",
                new().pax(&[("uid", b"4294967295")]).file("x", "x"),
            ),
            harmless(
                "a NUL in a name",
                new().pax(&[("path", b"a\0b")]).file("x", "x"),
            ),
            harmless("an empty name", new().file("", "x")),
            partly(
                "a name that no disk takes",
                new().pax(&[("path", &[b'n'; 300])]).file("x", "x"),
                "File name too long",
            ),
            harmless(
                "a depth just below",
                new().gnu(b'L', "d/".repeat(4095).as_bytes()).dir("x"),
            ),
        ],
    );
}

#[test]
fn attributes_that_cannot_be_are_told() {
    let sandbox = sandbox();
    let before = sandbox.ok(SURROUNDINGS).stdout;
    let tar = Tarball::new().pax(&[
        ("SCHILY.xattr.user.", b"x"),
        ("SCHILY.xattr.nonsense", b"x"),
        ("SCHILY.xattr.user.large", &[b'x'; 70_000]),
        ("SCHILY.xattr.system.posix_acl_access", b"nonsense"),
    ]);
    sandbox.put_archive(&tar.file("x", "x").finish());
    let ran = sandbox.ok("bk-restore -C out a");
    assert_eq!(ran.record()["restore"]["skipped"], 4);
    assert_eq!(ran.stderr.lines().count(), 4, "{ran:#?}");
    let test = sandbox.ok("bk-restore --test -C outside a; rm -rf out");
    let not_held = test.record()["restore"]["not_held"].clone();
    assert_eq!(not_held.as_object().unwrap().len(), 4, "{test:#?}");
    sandbox.ok("touch -d @1 outside");
    assert_eq!(sandbox.ok(SURROUNDINGS).stdout, before);
}

/// A pax size of which the header knows nothing: whoever takes the wrong one sees other entries.
#[test]
fn an_archive_within_an_archive_is_content() {
    let sandbox = sandbox();
    let inner = Tarball::new()
        .file("../outside/victim", "x")
        .file("smuggled", "x")
        .finish();
    let size = inner.len().to_string();
    let outer = Tarball::new()
        .pax(&[("size", size.as_bytes())])
        .add(&Header::new(b'0', b"inner.tar", 0), &inner)
        .file("after", "x");
    attack(&sandbox, vec![harmless("CVE-2025-62518", outer.clone())]);
    sandbox.put_archive(&outer.finish());
    let ran = sandbox.ok("bk-restore -C out a >/dev/null; ls out; stat -c %s out/inner.tar");
    assert_eq!(ran.stdout, format!("after\ninner.tar\n{size}\n"));
}

/// What others put into a directory that is restored into is as hostile as the archive.
#[test]
fn links_of_others_in_the_target_are_not_gone_through_either() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can make a link of another user");
        return;
    }
    let sandbox = sandbox();
    let before = sandbox.ok(SURROUNDINGS).stdout;
    let tar = Tarball::new()
        .file("d/victim", "x")
        .file("f", "x")
        .file("h", "x");
    sandbox.put_archive(&tar.finish());
    let plant = "rm -rf out; mkdir out; ln -s ../outside out/d; ln -s ../outside/victim out/f; chown -h 65534 out/d out/f; echo old >out/h; ln out/h out/i;";
    let ran = sandbox.run(&format!("{plant} bk-restore --into-existing -C out a"));
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(
        ran.stderr
            .contains("is there already: --overwrite replaces it"),
        "{ran:#?}"
    );
    let kinds = "stat -c '%n %F %s' out/* | sort";
    let old = sandbox.ok(kinds).stdout;
    assert!(old.contains("out/d symbolic link"), "{old}");
    let ran = sandbox.run("bk-restore --into-existing --overwrite -C out a");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("as a symbolic link of another user"),
        "{ran:#?}"
    );
    sandbox.ok("rm out/d; bk-restore --into-existing --overwrite -C out a");
    let new = sandbox
        .ok("cat out/d/victim out/f out/h out/i; stat -c %F out/d out/f")
        .stdout;
    assert_eq!(new, "xxxold\ndirectory\nregular file\n");
    assert_eq!(sandbox.ok(SURROUNDINGS).stdout, before);
}

/// Runs a line and tells the most memory that it took, in MiB.
fn peak_mib(sandbox: &Sandbox, line: &str) -> (Ran, u64) {
    let python = "import resource, subprocess, sys
ran = subprocess.run(['bash', '-c', sys.argv[1]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(ran.returncode)";
    let output = sandbox
        .command("python3")
        .args(["-c", python, line])
        .output()
        .unwrap();
    let ran = Ran::new(line, output);
    let mib = ran.stdout.lines().last().unwrap().parse().unwrap();
    (ran, mib)
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    if !has("python3") {
        return;
    }
    let sandbox = sandbox();
    let zeros = vec![0; 256 << 20];
    let header = Header::new(b'0', b"zeros", zeros.len() as u64);
    let bomb = Tarball::new().add(&header, &zeros).finish();
    sandbox.put_archive(&bomb);
    for (flags, reason) in [
        (
            "",
            "the archive holds more than 200 times its size, as a bomb does: --max-ratio allows more",
        ),
        (
            "--max-ratio 2000 --max-size 100M",
            "it is more than --max-size allows",
        ),
    ] {
        let (ran, mib) = peak_mib(&sandbox, &format!("bk-restore {flags} -C out a"));
        let told = format!("bk-restore: cannot restore 'a': cannot restore 'zeros': {reason}\n");
        assert_eq!((ran.status, &*ran.stderr), (1, &*told), "{ran:#?}");
        assert!(mib < 200 && !sandbox.path("out").exists(), "{mib}");
    }
    let (ran, mib) = peak_mib(&sandbox, "bk-restore --max-ratio 2000 -C out a");
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert!(mib < 200, "{mib}");
    sandbox.ok("rm -rf out");

    let mut many = Tarball::new();
    for number in 0..300_000 {
        many = many.symlink(&format!("link{number}"), "x");
    }
    sandbox.put_archive(&many.finish());
    let (ran, mib) = peak_mib(&sandbox, "bk-restore --max-ratio 10 -C out a");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(
        mib < 200 && ran.stderr.contains("as a bomb does"),
        "{mib} {ran:#?}"
    );
    sandbox.ok("test ! -e out; find . -name '.bk-restore*' | wc -l | grep -x 0");

    // Long names, which are to be kept in mind until the end.
    let mut long = Tarball::new();
    for number in 0..3000 {
        let target = format!("{number}{}", "x".repeat(60_000));
        long = long.symlink(&format!("link{number}"), &target);
    }
    sandbox.put_archive(&long.finish());
    let (ran, mib) = peak_mib(&sandbox, "bk-restore --max-ratio 100000 -C out a");
    assert!(
        mib < 200 && ran.stderr.contains("than fit in memory"),
        "{mib} {ran:#?}"
    );
}

#[test]
fn a_file_that_claims_to_be_huge_takes_no_space() {
    let sandbox = sandbox();
    let huge = i64::MAX.to_string();
    let tar = Tarball::new()
        .pax(&[
            ("GNU.sparse.size", huge.as_bytes()),
            ("GNU.sparse.map", b"0,1"),
        ])
        .file("huge", "x");
    sandbox.put_archive(&tar.finish());
    let ran = sandbox.run("bk-restore -C out a");
    assert_eq!(ran.status, 1, "{ran:#?}");
    let claims = Tarball::new().add(&Header::new(b'0', b"claims", 0o77_777_777_777), b"x");
    sandbox.put_archive(&claims.finish());
    let ran = sandbox.run("bk-restore --max-ratio 1000000000 -C out a");
    assert!(
        ran.stderr.contains(" are free") || ran.stderr.contains("cut short"),
        "{ran:#?}"
    );
    assert!(!sandbox.path("out").exists());
    assert_eq!(
        fs::read_to_string(sandbox.path("outside/victim")).unwrap(),
        "precious\n"
    );
}
