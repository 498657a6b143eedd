//! Entries of archives of other programs, as odd as those that their tests keep: what GNU tar,
//! bsdtar and Python's tarfile all restore is restored, and what was odd is told as a note.
//!
//! Each archive is built by hand; the judges are asked where they are installed.

use crate::support::adopted::{listed, notes, put, restored, sized};
use crate::support::oracle::{differences, has_judges, restore_by_all};
use crate::support::tarball::{Header, Tarball};
use crate::support::{Sandbox, stride};

#[test]
fn no_data_follows_links_devices_directories_and_fifos() {
    for (flag, what) in [
        (b'2', "symlink"),
        (b'3', "char-device"),
        (b'4', "block-device"),
        (b'5', "directory"),
        (b'6', "fifo"),
        (b'1', "hardlink"),
    ] {
        for told in [1000, 1, 8 << 30].into_iter().step_by(stride(3)) {
            let mut header = sized(flag, "odd", told.min(1000));
            header.put(157, b"lost").octal(329, 8, 1).octal(337, 8, 3);
            if told > 1 << 32 {
                header.put(124, b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
            }
            let tar = Tarball::new().file("lost", "content\n");
            let tar = tar.add(&header, b"").file("after", "x\n");
            let sandbox = put(&tar.finish());
            let expected = "'odd' states a size, but no data follows";
            assert_eq!(notes(&sandbox), [expected], "{what} {told}");
            assert_eq!(listed(&sandbox)[1]["type"], what);
            let names = restored(&sandbox);
            assert!(names.contains(&"after".into()), "{what}: {names:?}");
            assert!(names.contains(&"lost".into()), "{what}: {names:?}");
        }
    }
}

#[test]
fn a_directory_of_the_type_of_files_has_the_data_that_it_tells() {
    let data = &b"what no header is\n".repeat(40)[..];
    let named = |flag| sized(flag, "d/", data.len() as u64);
    let pax: &[(&str, &[u8])] = &[("path", b"d/")];
    let note = "'d/' states a size, but no data follows";
    let new = Tarball::new;
    for (tar, expected) in [
        (new().add(&named(b'0'), data), &[][..]),
        (new().add(&named(b'7'), data), &[]),
        (new().add(&named(0), data), &[]),
        (new().add(&named(0), b""), &[note]),
        (new().pax(pax).add(&sized(b'0', "f", 720), data), &[]),
        (new().pax(pax).add(&sized(0, "f", 720), data), &[]),
    ] {
        let sandbox = put(&tar.file("after", "x\n").finish());
        assert_eq!(notes(&sandbox), expected);
        assert_eq!(listed(&sandbox)[0]["type"], "directory");
        assert_eq!(restored(&sandbox), ["after", "d"]);
        sandbox.ok("bk-verify --deep a && bk-restore --test a");
    }
}

#[test]
fn a_hard_link_has_data_in_the_pax_format_alone() {
    let link = |magic: &[u8]| {
        let mut header = sized(b'1', "b", 6);
        header.put(157, b"a").put(257, magic);
        header
    };
    let (pax, gnu, old) = (&b"ustar\x0000"[..], &b"ustar  \0"[..], &[0; 8][..]);
    let note = "'b' states a size, but no data follows";
    let comment: &[(&str, &[u8])] = &[("comment", b"x")];
    let begin = |is_pax| match is_pax {
        true => Tarball::new().pax(comment).file("a", "alpha\n"),
        false => Tarball::new().file("a", "alpha\n"),
    };
    // Of the plain ustar format nothing tells whether it is pax but what follows.
    for (is_pax, magic, data, expected) in [
        (true, pax, "alpha\n", &[][..]),
        (true, gnu, "alpha\n", &[]),
        (false, pax, "alpha\n", &[]),
        (false, pax, "", &[note]),
        (false, gnu, "", &[note]),
        (false, old, "", &[note]),
    ] {
        for is_last in [false, true] {
            let mut tar = begin(is_pax).add(&link(magic), data.as_bytes());
            if !is_last {
                tar = tar.file("z", "omega\n");
            }
            let sandbox = put(&tar.finish());
            assert_eq!(notes(&sandbox), expected, "{is_pax} {magic:?} {is_last}");
            let names = restored(&sandbox);
            let expected = if is_last {
                &["a", "b"][..]
            } else {
                &["a", "b", "z"]
            };
            assert_eq!(names, expected, "{is_pax} {magic:?}");
            let same = sandbox.ok("stat -c %h out/a; cat out/b").stdout;
            assert_eq!(same, "2\nalpha\n");
        }
    }
}

#[test]
fn what_posix_does_not_know_is_a_file() {
    for flag in *b"QNEIZ" {
        let tar = Tarball::new().add(&sized(flag, "q", 6), b"queue\n");
        let sandbox = put(&tar.file("z", "x").finish());
        let letter = char::from(flag);
        let expected = format!("'q' has the unknown type '{letter}': it is treated as a file");
        assert_eq!(notes(&sandbox), [expected]);
        assert_eq!(listed(&sandbox)[0]["type"], "file");
        assert_eq!(restored(&sandbox), ["q", "z"]);
        assert_eq!(sandbox.ok("bk-restore --stdout q a").stdout, "queue\n");
    }
    // The rest of a file that another volume begins.
    let tar = Tarball::new().add(&sized(b'M', "part", 5), b"rest\n");
    let sandbox = put(&tar.finish());
    let expected = "'part' is the rest of a file that begins on another volume";
    assert_eq!(notes(&sandbox), [expected]);
    assert_eq!(restored(&sandbox), ["part"]);
    // A label, and what Solaris tells of the next entry.
    let tar = Tarball::new()
        .add(&sized(b'V', "label", 0), b"")
        .add(&sized(b'A', "acl", 4), b"user")
        .file("f", "x");
    let sandbox = put(&tar.finish());
    let expected = "a label or an ACL of Solaris is not restored; and 1 more like it";
    assert_eq!(notes(&sandbox), [expected]);
    assert_eq!(restored(&sandbox), ["f"]);
}

#[test]
fn directories_of_incremental_archives_keep_mode_owner_and_time() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir -p src/d/secret src/d/empty; echo k > src/d/secret/key; chmod 700 src/d/secret; touch -d @1000000000 src/d/secret");
    sandbox.ok("tar -C src -czf a.tar.gz -g snar d");
    assert_eq!(notes(&sandbox), [""; 0]);
    assert_eq!(
        restored(&sandbox),
        ["d", "d/empty", "d/secret", "d/secret/key"]
    );
    let facts = sandbox.ok("stat -c '%a %Y' out/d/secret").stdout;
    assert_eq!(facts, "700 1000000000\n");
    let types = listed(&sandbox).into_iter().map(|it| it["type"].clone());
    assert_eq!(types.filter(|it| it == "directory").count(), 3);
}

#[test]
fn numbers_are_read_as_the_judges_read_them() {
    let uid = |field: &[u8]| {
        let mut header = sized(b'0', "f", 2);
        header.put(108, field);
        let sandbox = put(&Tarball::new().add(&header, b"x\n").finish());
        let notes = notes(&sandbox);
        assert_eq!(restored(&sandbox), ["f"]);
        (listed(&sandbox)[0]["uid"].clone(), notes)
    };
    let odd = vec!["the uid of 'f' is out of range".to_owned()];
    let none = Vec::new();
    for (field, expected, notes) in [
        (&b"\0\0\0\0\x00005 "[..], 0, &none),
        (b"     17\0", 0o17, &none),
        (b"17\0zzzzz", 0o17, &none),
        (b"        ", 0, &none),
        (b"\x80\0\0\0\0\0\x01\0", 256, &none),
        (b"\x80\0\0\0\xff\xff\xff\xfe", 4_294_967_294, &none),
        (b"\x80\0\0\0\xff\xff\xff\xff", u32::MAX, &odd),
        (b"\x80\0\0\x01\0\0\0\0", u32::MAX, &odd),
        (b"\xff\xff\xff\xff\xff\xff\xff\xfe", u32::MAX, &odd),
        (b"0000 9\0\0", 0, &none),
        (b"000009\0\0", u32::MAX, &odd),
    ] {
        assert_eq!(uid(field), (expected.into(), notes.clone()), "{field:?}");
    }
    let mut mode = sized(b'0', "f", 0);
    mode.put(100, b"rw-r--r-").put(136, b"yesterday\0");
    let sandbox = put(&Tarball::new().add(&mode, b"").finish());
    let expected = "the mtime of 'f' is out of range; and 1 more like it";
    assert_eq!(notes(&sandbox), [expected]);
    assert_eq!(listed(&sandbox)[0]["mode"], "0600");
    assert_eq!(restored(&sandbox), ["f"]);
}

#[test]
fn an_empty_value_of_a_record_takes_away_a_global_one() {
    let stream = Tarball::new()
        .global(&[("uname", b"other"), ("mtime", b"5")])
        .pax(&[("uname", b""), ("mtime", b""), ("path", b""), ("size", b"")])
        .file("f", "x\n")
        .file("g", "x\n");
    let sandbox = put(&stream.finish());
    assert_eq!(notes(&sandbox), [""; 0]);
    let facts: Vec<_> = listed(&sandbox)
        .iter()
        .map(|it| format!("{} {} {}", it["path"], it["uname"], it["mtime"]))
        .collect();
    assert_eq!(
        facts,
        [
            "\"f\" \"\" \"2001-09-09T01:46:40Z\"",
            "\"g\" \"other\" \"1970-01-01T00:00:05Z\""
        ]
    );
}

#[test]
fn a_time_that_cannot_be_costs_the_time_alone() {
    let nines = "9".repeat(30);
    for time in [&*nines, ".5x", "1e9", "-", "yesterday", "0x10"] {
        let stream = Tarball::new()
            .pax(&[
                ("mtime", time.as_bytes()),
                ("uid", b"4294967296"),
                ("gid", b"-1"),
            ])
            .file("a", "alpha\n")
            .file("z", "omega\n");
        let sandbox = put(&stream.finish());
        let expected = "the uid of 'a' is out of range; and 2 more like it";
        assert_eq!(notes(&sandbox), [expected], "{time}");
        assert_eq!(restored(&sandbox), ["a", "z"]);
        let facts = sandbox.ok("stat -c '%Y %u %g' out/a").stdout;
        assert_eq!(facts, "1000000000 0 0\n", "{time}");
    }
}

#[test]
fn an_entry_that_cannot_be_keeps_no_other_from_being_restored() {
    let long = "x".repeat(70_000);
    let deep = format!("{}b", "a/".repeat(5000));
    let new = Tarball::new;
    for (what, tar) in [
        (
            "contains '..'",
            new().file("../up", "x").dir("..").file("a/../b", "x"),
        ),
        ("its name is empty", new().file("", "x")),
        (
            "contains a NUL",
            new().pax(&[("path", b"a\0b")]).file("x", "x"),
        ),
        ("its link target is empty", new().symlink("s", "")),
        ("its link target is empty", new().hardlink("s", "")),
        (
            "more than 4096 parts",
            new().pax(&[("path", deep.as_bytes())]).file("x", "x"),
        ),
        (
            "its name is longer",
            new().pax(&[("path", long.as_bytes())]).file("x", "x"),
        ),
        (
            "its device number is out of range",
            new().add(
                Header::new(b'3', b"n", 0).put(329, b"\x80\0\0\x01\0\0\0\0"),
                b"",
            ),
        ),
        (
            "its name is '.', which only a directory can have",
            new().file("./", "").file(".", "x"),
        ),
        (
            "its name is '.', which only a directory can have",
            new().hardlink(".", "before"),
        ),
        (
            "a sparse map",
            new()
                .pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"5,3,0,2")])
                .file("s", "12345"),
        ),
    ] {
        let stream = new()
            .file("before", "x\n")
            .append(&tar)
            .file("ok", "fine\n");
        let sandbox = put(&stream.finish());
        let notes = notes(&sandbox);
        assert!(notes[0].starts_with("cannot restore "), "{notes:?}");
        assert!(notes[0].contains(what), "{notes:?}");
        assert_eq!(restored(&sandbox), ["before", "ok"], "{what}");
        let ran = sandbox.ok("bk-restore --stdout ok a");
        assert_eq!(ran.stdout, "fine\n");
    }
}

#[test]
fn global_headers_are_read_in_linear_time() {
    let mut records = b"5 a=\n".repeat(100_000);
    for n in 0..20_000 {
        records.extend(format!("12 k{n:05}=v\n").into_bytes());
    }
    let mut tar = Tarball::new().add(&sized(b'g', "global", records.len() as u64), &records);
    for n in 0..20_000 {
        tar = tar.file(&format!("f{n}"), "");
    }
    let sandbox = put(&tar.finish());
    let began = std::time::Instant::now();
    sandbox.ok("timeout 60 bk-adopt a.tar.gz && bk-ls --files --json a | wc -l");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn targets_of_links_that_are_no_utf8_have_a_key_of_their_own() {
    let mut header = sized(b'2', "s", 0);
    header.put(157, b"caf\xe9");
    let sandbox = put(&Tarball::new()
        .add(&header, b"")
        .symlink("t", "plain")
        .finish());
    assert_eq!(notes(&sandbox), [""; 0]);
    let files = listed(&sandbox);
    assert_eq!(files[0]["link"], "caf\u{fffd}");
    assert_eq!(files[0]["link_base64"], "Y2Fm6Q==");
    assert!(files[1].get("link_base64").is_none());
}

/// Archives that are odd in one way each.
fn odd_archives() -> Vec<(&'static str, Vec<u8>)> {
    let new = Tarball::new;
    let mut prefixed = sized(b'0', "name", 2);
    prefixed.put(345, b"some/prefix");
    let mut gnu = sized(b'0', "name", 2);
    gnu.put(257, b"ustar  \0").put(345, b"12345670123\0");
    let mut star = sized(b'0', "name", 2);
    star.put(345, b"prefix")
        .put(476, b"07346545000 07346545000 ")
        .put(508, b"tar\0");
    let mut old = sized(b'0', "old/", 0);
    old.put(156, b"\0").put(257, &[0; 8]);
    let mut v7 = sized(0, "plain", 2);
    v7.put(257, &[0; 8]).put(265, &[0; 64]).put(329, &[0; 16]);
    let mut large = sized(b'0', "f", 2);
    large.put(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x02");
    let mut early = sized(b'0', "f", 2);
    early.put(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00");
    vec![
        ("a prefix", new().add(&prefixed, b"x\n").finish()),
        (
            "what GNU tar has in the place of a prefix",
            new().add(&gnu, b"x\n").finish(),
        ),
        ("times of star", new().add(&star, b"x\n").finish()),
        (
            "an old directory",
            new().add(&old, b"").file("old/f", "x").finish(),
        ),
        ("the oldest header", new().add(&v7, b"x\n").finish()),
        (
            "a size in base 256",
            new().add(&large, b"x\n").file("z", "z").finish(),
        ),
        ("a time before 1970", new().add(&early, b"x\n").finish()),
        (
            "an old sparse header that tells no holes",
            new()
                .add(sized(b'S', "s", 6).put(257, b"ustar  \0"), b"alpha\n")
                .file("z", "z")
                .finish(),
        ),
        ("type 7", new().add(&sized(b'7', "f", 2), b"x\n").finish()),
        (
            "type 0 with a slash",
            new().add(&sized(0, "d/", 0), b"").finish(),
        ),
        (
            "a path with a slash",
            new()
                .pax(&[("path", b"d/")])
                .dir("x")
                .file("z", "z")
                .finish(),
        ),
        (
            "a size in a record",
            new()
                .pax(&[("size", b"6")])
                .add(&sized(b'0', "f", 0), b"alpha\n")
                .file("z", "z")
                .finish(),
        ),
        (
            "bytes of any kind",
            new()
                .pax(&[("hdrcharset", b"BINARY"), ("comment", b"\xff")])
                .file("f", "x")
                .finish(),
        ),
        (
            "a long name before a record",
            new()
                .gnu(b'L', &b"l".repeat(150))
                .pax(&[("comment", b"x")])
                .file("f", "x")
                .finish(),
        ),
        (
            "a long name twice",
            new()
                .gnu(b'L', b"first")
                .gnu(b'L', b"second")
                .file("f", "x")
                .finish(),
        ),
        (
            "a long target",
            new()
                .gnu(b'K', &b"t".repeat(150))
                .symlink("s", "x")
                .finish(),
        ),
        (
            "a global header in the middle",
            new()
                .file("a", "x")
                .global(&[("comment", b"x")])
                .file("b", "x")
                .finish(),
        ),
        (
            "a header of Solaris",
            new()
                .add(&sized(b'X', "x", 13), b"13 path=name\n")
                .file("z", "z")
                .finish(),
        ),
        (
            "a name that begins with a slash",
            new().file("/f", "x").dir("//d").finish(),
        ),
        (
            "a name with dots",
            new()
                .file("./f", "x")
                .dir("./")
                .dir("./d/")
                .file("d/./g", "x")
                .finish(),
        ),
        ("nothing but the end", new().finish()),
    ]
}

#[test]
fn where_all_judges_restore_the_same_so_do_we() {
    if !has_judges() {
        return;
    }
    let mut wrong = Vec::new();
    for (what, stream) in odd_archives().into_iter().step_by(stride(8)) {
        let sandbox = put(&stream);
        let (judges, bk) = restore_by_all(&sandbox);
        for difference in differences(&sandbox, &judges, &bk) {
            wrong.push(format!("{what}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
