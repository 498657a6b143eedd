//! Hostile archives: whatever they hold, nothing outside of the target changes.
//!
//! Every class of attack, and the shapes of the known CVEs of tar-rs, GNU tar, node-tar and
//! Python's tarfile. The surroundings are compared before and after. Limits and bombs are in
//! bombs.rs, races in races.rs.

use crate::support::attack::*;
use crate::support::tarball::{Header, Tarball};

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
            harmless("CVE-2007-4559: dots", new().file("../outside/victim", "x")),
            harmless(
                "CVE-2016-6321: dots within",
                new().file("a/../../outside/victim", "x"),
            ),
            harmless("dots that come back", new().dir("a").file("a/../x", "x")),
            harmless("dots at the end", new().dir("a/..")),
            harmless("dots alone", new().dir("..")),
            harmless("dots behind a slash", new().file("/../outside/victim", "x")),
            harmless("dots in the prefix", new().add(&prefixed, b"x")),
            harmless(
                "dots in a record",
                new().pax(&[("path", b"../outside/victim")]).file("ok", "x"),
            ),
            harmless(
                "dots in the name of a file with holes",
                new()
                    .pax(&[
                        ("GNU.sparse.name", b"../outside/victim"),
                        ("GNU.sparse.size", b"1"),
                        ("GNU.sparse.map", b"0,1"),
                    ])
                    .file("ok", "x"),
            ),
            harmless(
                "dots in a long name",
                new().gnu(b'L', b"../outside/victim").file("ok", "x"),
            ),
            harmless(
                "a backslash is a letter",
                new().file("..\\outside\\victim", "x"),
            ),
            harmless("three dots are a name", new().file(".../x", "x")),
            harmless("the target as a file", new().file("./", "x").file(".", "x")),
            harmless("the target as a link", new().symlink("./.", "outside")),
        ],
    );
}

#[test]
fn links_are_never_gone_through() {
    let sandbox = sandbox();
    let outside = absolute(&sandbox, "outside");
    let new = || Tarball::new();
    let through = |target: &str| new().symlink("d", target).file("d/x", "x");
    attack(
        &sandbox,
        vec![
            partly(
                "an absolute link and a name through it",
                through(&outside),
                TWICE,
            ),
            partly("a relative one", through("../outside"), TWICE),
            partly("one that leads up only", through(".."), TWICE),
            partly("one to the target", through("."), TWICE),
            partly(
                "a chain of them",
                new()
                    .symlink("a", ".")
                    .symlink("b", "a/..")
                    .file("b/outside/victim", "x"),
                TWICE,
            ),
            partly(
                "CVE-2021-32803: a directory, then a link, then through it",
                new().dir("d").symlink("d", &outside).file("d/victim", "x"),
                TWICE,
            ),
            partly(
                "CVE-2021-37701: the same with a slash at the end",
                new()
                    .dir("d/")
                    .symlink("d/", &outside)
                    .file("d//victim", "x"),
                TWICE,
            ),
            harmless(
                "a link, then a directory over it",
                new().symlink("d", &outside).dir("d").file("d/victim", "x"),
            ),
            partly(
                "CVE-2021-38511: directories through a link",
                new().symlink("d", &outside).dir("d/made/below"),
                TWICE,
            ),
            harmless(
                "CVE-2021-20206: the mode of a directory through a link",
                new().symlink("d", &outside).dir("d/"),
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
            harmless(
                "a file over a link",
                new().symlink("d", "outside/victim").file("d", "x"),
            ),
            harmless(
                "a link over a file",
                new().file("d", "x").symlink("d", "outside/victim"),
            ),
            partly(
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
            partly(
                "CVE-2025-4517: a link behind a long chain",
                long_chain(),
                "a symbolic link is in its path",
            ),
        ],
    );
}

const NOT_HELD: &str = "which is not in the archive";

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
            partly(
                "to an absolute path",
                new().hardlink("h", &victim),
                NOT_HELD,
            ),
            harmless(
                "to a path that leads up",
                new().hardlink("h", "../outside/victim"),
            ),
            harmless(
                "to outside, then written",
                new().hardlink("h", &victim).file("h", "x"),
            ),
            partly(
                "CVE-2018-20990: through a link",
                new().symlink("d", &outside).hardlink("h", "d/victim"),
                "",
            ),
            harmless(
                "CVE-2018-20990: to a link, then written",
                new()
                    .symlink("s", &victim)
                    .hardlink("h", "s")
                    .file("h", "x"),
            ),
            harmless("to a link", new().symlink("s", &victim).hardlink("h", "s")),
            harmless(
                "to what comes later",
                new().hardlink("h", "f").file("f", "x"),
            ),
            partly(
                "to a directory",
                new().dir("d").hardlink("h", "d"),
                "to a directory",
            ),
            partly(
                "to a directory that is implied",
                new().file("d/x", "x").hardlink("h", "d"),
                "to a directory",
            ),
            harmless("to itself", new().hardlink("h", "h")),
            partly(
                "to one another",
                new().hardlink("h", "i").hardlink("i", "h"),
                NOT_HELD,
            ),
            refused(
                "to nothing, alone",
                new().hardlink("h", "i"),
                "none of its entries can be made",
            ),
            partly("to the target", new().hardlink("h", "."), "to a directory"),
            harmless(
                "to an own name twice",
                new().file("f", "x").hardlink("f", "f"),
            ),
        ],
    );
    assert_eq!(sandbox.ok("stat -c %h outside/victim").stdout, "1\n");
}

#[test]
fn what_is_no_file_never_becomes_one() {
    let sandbox = sandbox();
    // No data follows a device or a FIFO, whatever it tells; other types are files.
    let with_size = |flag| {
        let header = Header::new(flag, b"odd", 5);
        let content: &[u8] = if b"346".contains(&flag) {
            b""
        } else {
            b"odd!\n"
        };
        Tarball::new().add(&header, content).file("ok", "x")
    };
    let mut attacks = vec![
        harmless("a device", Tarball::new().node(b'3', "odd", 1, 3)),
        harmless("a disk", Tarball::new().node(b'4', "odd", 8, 0)),
    ];
    for flag in *b"346DMNVZ" {
        attacks.push(harmless("a type with a size", with_size(flag)));
    }
    attack(&sandbox, attacks);
    for (flag, expected) in [
        (b'3', "ok\n"),
        (b'4', "ok\n"),
        (b'D', "odd\nok\n"),
        (b'M', "odd\nok\n"),
        (b'N', "odd\nok\n"),
        (b'V', "ok\n"),
        (b'Z', "odd\nok\n"),
    ] {
        sandbox.put_archive(&with_size(flag).finish());
        let ran = sandbox.ok("rm -rf out; bk-restore -C out a >/dev/null; ls out");
        assert_eq!(ran.stdout, expected, "{ran:#?}");
        let is_left_out = ran.stderr.contains("warning: 'odd': not restored: ");
        assert_eq!(is_left_out, b"34".contains(&flag), "{ran:#?}");
    }
    sandbox.put_archive(&with_size(b'6').finish());
    let ran = sandbox.ok("rm -rf out; bk-restore -C out a >/dev/null; stat -c %F out/odd out/ok");
    assert_eq!(ran.stdout, "fifo\nregular file\n");
    let lines = "rm -rf out; bk-restore --devices -C out a >/dev/null; stat -c '%F %t:%T' out/odd";
    if rustix::process::geteuid().is_root() {
        sandbox.put_archive(&Tarball::new().node(b'3', "odd", 1, 3).finish());
        assert_eq!(sandbox.ok(lines).stdout, "character special file 1:3\n");
    }
}
