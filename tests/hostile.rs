//! Hostile archives: whatever they hold, nothing outside of the target changes.
//!
//! Every class of attack, and the shapes of the known CVEs of tar-rs, GNU tar, node-tar and
//! Python's tarfile. The surroundings are compared before and after. Limits and bombs are in
//! bombs.rs, races in races.rs.

use bk_tests::attack::*;
use bk_tests::tarball::{Header, Tarball};

#[test]
fn names_that_lead_out_do_not() {
    let sandbox = sandbox();
    let victim = absolute(&sandbox, "outside/victim");
    let mut prefixed = Header::new(b'0', b"victim", 1);
    prefixed.put(345, b"../outside");
    let new = || Tarball::new();
    attack(
        &sandbox,
        vec![
            harmless(
                "an absolute name",
                new().file("/absolute", "x").file(&victim, "x"),
            ),
            harmless(
                "an absolute name of slashes",
                new().file("////absolute", "x"),
            ),
            harmless(
                "an absolute link",
                new().symlink("/absolute", "/etc/passwd"),
            ),
            refused(
                "CVE-2007-4559: dots",
                new().file("../outside/victim", "x"),
                UP,
            ),
            refused(
                "CVE-2016-6321: dots within",
                new().file("a/../../outside/victim", "x"),
                UP,
            ),
            refused(
                "dots that come back",
                new().dir("a").file("a/../x", "x"),
                UP,
            ),
            refused("dots at the end", new().dir("a/.."), UP),
            refused("dots alone", new().dir(".."), UP),
            refused(
                "dots behind a slash",
                new().file("/../outside/victim", "x"),
                UP,
            ),
            refused("dots in the prefix", new().add(&prefixed, b"x"), UP),
            refused(
                "dots in a record",
                new().pax(&[("path", b"../outside/victim")]).file("ok", "x"),
                UP,
            ),
            refused(
                "dots in the name of a file with holes",
                new()
                    .pax(&[
                        ("GNU.sparse.name", b"../outside/victim"),
                        ("GNU.sparse.size", b"1"),
                        ("GNU.sparse.map", b"0,1"),
                    ])
                    .file("ok", "x"),
                UP,
            ),
            refused(
                "dots in a long name",
                new().gnu(b'L', b"../outside/victim").file("ok", "x"),
                UP,
            ),
            harmless(
                "a backslash is a letter",
                new().file("..\\outside\\victim", "x"),
            ),
            harmless("three dots are a name", new().file(".../x", "x")),
            refused(
                "the target as a file",
                new().file("./", "x").file(".", "x"),
                "",
            ),
            refused(
                "the target as a link",
                new().symlink("./.", "outside"),
                TWICE_OR_ROOT,
            ),
        ],
    );
}

const TWICE_OR_ROOT: &str = "bk-restore: cannot";

#[test]
fn links_are_never_gone_through() {
    let sandbox = sandbox();
    let outside = absolute(&sandbox, "outside");
    let new = || Tarball::new();
    let through = |target: &str| new().symlink("d", target).file("d/x", "x");
    attack(
        &sandbox,
        vec![
            refused(
                "an absolute link and a name through it",
                through(&outside),
                TWICE,
            ),
            refused("a relative one", through("../outside"), TWICE),
            refused("one that leads up only", through(".."), TWICE),
            refused("one to the target", through("."), TWICE),
            refused(
                "a chain of them",
                new()
                    .symlink("a", ".")
                    .symlink("b", "a/..")
                    .file("b/outside/victim", "x"),
                TWICE,
            ),
            refused(
                "CVE-2021-32803: a directory, then a link, then through it",
                new().dir("d").symlink("d", &outside).file("d/victim", "x"),
                TWICE,
            ),
            refused(
                "CVE-2021-37701: the same with a slash at the end",
                new()
                    .dir("d/")
                    .symlink("d/", &outside)
                    .file("d//victim", "x"),
                TWICE,
            ),
            refused(
                "a link, then a directory over it",
                new().symlink("d", &outside).dir("d").file("d/victim", "x"),
                TWICE,
            ),
            refused(
                "CVE-2021-38511: directories through a link",
                new().symlink("d", &outside).dir("d/made/below"),
                TWICE,
            ),
            refused(
                "CVE-2021-20206: the mode of a directory through a link",
                new().symlink("d", &outside).dir("d/"),
                TWICE,
            ),
            harmless(
                "CVE-2021-37712: a name in two normal forms is two names",
                new()
                    .symlink("d\u{e9}", &outside)
                    .file("de\u{301}/victim", "x"),
            ),
            harmless(
                "names that differ in case",
                new().symlink("D", &outside).file("d/victim", "x"),
            ),
            refused(
                "a file over a link",
                new().symlink("d", "outside/victim").file("d", "x"),
                TWICE,
            ),
            refused(
                "a link over a file",
                new().file("d", "x").symlink("d", "outside/victim"),
                TWICE,
            ),
            refused(
                "a name through a file",
                new().file("d", "x").file("d/x", "x"),
                "Not a directory",
            ),
            harmless(
                "links that lead anywhere stay what they are",
                new()
                    .symlink("a", &outside)
                    .symlink("b", "../../../..")
                    .symlink("c", "/etc"),
            ),
            refused(
                "CVE-2025-4517: a link behind a long chain",
                long_chain(),
                "a symbolic link is in its way",
            ),
        ],
    );
}

/// Directories and links whose joined path is longer than the kernel takes, so that whoever
/// checks by resolving it sees nothing wrong.
fn long_chain() -> Tarball {
    let name = "d".repeat(90);
    let mut tar = Tarball::new();
    let mut path = String::new();
    for letter in "abcdefghijklmnop".chars() {
        let step = |it: &str| {
            if path.is_empty() {
                it.into()
            } else {
                format!("{path}/{it}")
            }
        };
        let (dir, link) = (step(&name), step(&letter.to_string()));
        tar = tar.gnu(b'L', dir.as_bytes()).dir("x");
        tar = tar.gnu(b'L', link.as_bytes()).symlink("x", &name);
        path = dir;
    }
    let chain = "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p";
    let end = format!("{chain}/{}", "l".repeat(200));
    tar = tar
        .gnu(b'L', end.as_bytes())
        .symlink("x", &"../".repeat(16));
    tar.symlink("escape", &format!("{end}/../../outside"))
        .file("escape/victim", "x")
}

#[test]
fn hard_links_lead_nowhere_else() {
    let sandbox = sandbox();
    let victim = absolute(&sandbox, "outside/victim");
    let outside = absolute(&sandbox, "outside");
    let new = || Tarball::new();
    attack(
        &sandbox,
        vec![
            refused(
                "to an absolute path",
                new().hardlink("h", &victim),
                NOT_HELD,
            ),
            refused(
                "to a path that leads up",
                new().hardlink("h", "../outside/victim"),
                UP,
            ),
            refused(
                "to outside, then written",
                new().hardlink("h", &victim).file("h", "x"),
                NOT_HELD,
            ),
            refused(
                "CVE-2018-20990: through a link",
                new().symlink("d", &outside).hardlink("h", "d/victim"),
                "",
            ),
            refused(
                "CVE-2018-20990: to a link, then written",
                new()
                    .symlink("s", &victim)
                    .hardlink("h", "s")
                    .file("h", "x"),
                TWICE,
            ),
            harmless("to a link", new().symlink("s", &victim).hardlink("h", "s")),
            harmless(
                "to what comes later",
                new().hardlink("h", "f").file("f", "x"),
            ),
            refused(
                "to a directory",
                new().dir("d").hardlink("h", "d"),
                "to a directory",
            ),
            refused(
                "to a directory that is implied",
                new().file("d/x", "x").hardlink("h", "d"),
                "to a directory",
            ),
            refused("to itself", new().hardlink("h", "h"), NOT_HELD),
            refused(
                "to one another",
                new().hardlink("h", "i").hardlink("i", "h"),
                NOT_HELD,
            ),
            refused("to the target", new().hardlink("h", "."), ""),
            refused(
                "to an own name twice",
                new().file("f", "x").hardlink("f", "f"),
                TWICE,
            ),
        ],
    );
    assert_eq!(sandbox.ok("stat -c %h outside/victim").stdout, "1\n");
}

#[test]
fn what_is_no_file_never_becomes_one() {
    let sandbox = sandbox();
    let with_content = |flag| {
        let header = Header::new(flag, b"odd", 5);
        Tarball::new().add(&header, b"odd!\n").file("ok", "x")
    };
    let mut attacks = vec![
        harmless("a device", Tarball::new().node(b'3', "odd", 1, 3)),
        harmless("a disk", Tarball::new().node(b'4', "odd", 8, 0)),
    ];
    for flag in *b"346DMNVZ" {
        attacks.push(harmless("a type with content", with_content(flag)));
    }
    attack(&sandbox, attacks);
    for flag in *b"34DMNVZ" {
        sandbox.put_archive(&with_content(flag).finish());
        let ran = sandbox.ok("rm -rf out; bk-restore -C out a; ls out");
        assert!(ran.stdout.ends_with("\nok\n"), "{ran:#?}");
        assert!(
            ran.stderr.contains("warning: 'odd': not restored: "),
            "{ran:#?}"
        );
    }
    sandbox.put_archive(&with_content(b'6').finish());
    let ran = sandbox.ok("rm -rf out; bk-restore -C out a >/dev/null; stat -c %F out/odd out/ok");
    assert_eq!(ran.stdout, "fifo\nregular file\n");
    let lines = "rm -rf out; bk-restore --devices -C out a >/dev/null; stat -c '%F %t:%T' out/odd";
    if rustix::process::geteuid().is_root() {
        sandbox.put_archive(&Tarball::new().node(b'3', "odd", 1, 3).finish());
        assert_eq!(sandbox.ok(lines).stdout, "character special file 1:3\n");
    }
}
