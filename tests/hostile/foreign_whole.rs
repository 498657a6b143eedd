//! Archives of other programs as wholes: how they end, names that come again, and what is left of
//! damaged ones.

use std::fs;

use crate::support::Sandbox;
use crate::support::adopted::{gzip, listed, notes, put, put_raw, restored, sized};
use crate::support::tarball::{Header, Tarball};

#[test]
fn what_follows_the_last_gzip_member_is_a_note() {
    let sandbox = Sandbox::new();
    let stream = Tarball::new().file("a", "alpha\n").finish();
    let member = gzip(&sandbox, &stream);
    let (begin, end) = stream.split_at(700);
    let two = [gzip(&sandbox, begin), gzip(&sandbox, end)].concat();
    for whole in [&member, &two] {
        for more in [&[0; 1][..], &[0; 5000], b"\0\0garbage", b"garbage"] {
            let sandbox = put_raw(&[&whole[..], more].concat());
            assert_eq!(sandbox.run("gzip -t a.tar.gz").status % 2, 0);
            let at = whole.len();
            let expected = format!(
                "bytes that are no gzip member follow the last one (at byte {at} of the file); they are not read"
            );
            assert_eq!(notes(&sandbox), [expected], "{more:?}");
            assert_eq!(restored(&sandbox), ["a"]);
        }
    }
}

#[test]
fn what_follows_the_end_is_a_note_and_so_is_no_end() {
    let whole = Tarball::new()
        .file("a", "alpha\n")
        .file("z", "omega\n")
        .finish();
    let stale = [&whole[..], b"stale bytes of a buffer"].concat();
    let mut padded = whole.clone();
    padded.resize(4096, 0);
    padded.resize(10240, 0xaa);
    // Of two archives joined the first is read, unless one says tar -i.
    let joined = [&whole[..], &Tarball::new().file("more", "x").finish()].concat();
    // git-archive begins with a comment, which is no birth.
    let comment = format!("52 comment={}\n", "a".repeat(40));
    let global = Header::new(b'g', b"pax_global_header", comment.len() as u64);
    let global = Tarball::new().add(&global, comment.as_bytes());
    let of_git = global.file("a", "alpha\n").file("z", "omega\n").finish();
    let of_git = [&of_git[..], b"stale"].concat();
    let after = "what follows the end of the archive is not read";
    for stream in [&stale, &padded, &joined, &of_git] {
        let sandbox = put(stream);
        assert_eq!(notes(&sandbox), [after]);
        assert_eq!(restored(&sandbox), ["a", "z"]);
    }
    let end = whole.len() - 1024;
    let cut = "the end of the archive is missing; what is there is read";
    // The last block of the last file may be cut, too.
    for length in [end, end - 400] {
        let sandbox = put(&whole[..length]);
        assert_eq!(notes(&sandbox), [cut]);
        assert_eq!(restored(&sandbox), ["a", "z"]);
    }
    for length in [end + 512, end + 1024] {
        let sandbox = put(&whole[..length]);
        assert_eq!(notes(&sandbox), [""; 0]);
    }
}

#[test]
fn the_last_of_a_name_counts_for_all_that_read() {
    let stream = Tarball::new()
        .dir("d/")
        .file("d/f", "first\n")
        .file("./d/f", "second\n")
        .symlink("l", "d/f")
        .file("k", "k\n")
        .add(Header::new(b'5', b"d", 0).octal(100, 8, 0o700), b"")
        .file("l", "no link\n")
        .symlink("k", "l")
        .file("d/f", "third and last\n")
        .hardlink("d/f", "./d/f");
    let sandbox = put(&stream.finish());
    let expected = "6 entries have a name that comes again: the last one counts";
    assert_eq!(notes(&sandbox), [expected]);
    let paths: Vec<_> = listed(&sandbox)
        .iter()
        .map(|it| it["path"].clone())
        .collect();
    assert_eq!(paths, ["d", "l", "k", "d/f"]);
    assert_eq!(restored(&sandbox), ["d", "d/f", "k", "l"]);
    let facts = sandbox
        .ok("cat out/d/f out/l; readlink out/k; stat -c %a out/d")
        .stdout;
    assert_eq!(facts, "third and last\nno link\nl\n700\n");
    for line in [
        "bk-restore --stdout d/f a",
        "rm -rf p; bk-restore -C p a -- d/f >/dev/null; cat p/d/f",
    ] {
        let ran = sandbox.ok(line);
        assert_eq!(ran.stdout, "third and last\n", "{ran:#?}");
    }
    sandbox.ok("mkdir test; bk-restore --test -C test a");
}

#[test]
fn a_hard_link_means_what_had_the_name_when_it_came() {
    let stream = Tarball::new()
        .file("a", "first\n")
        .hardlink("b", "a")
        .hardlink("c", "a")
        .hardlink("d", "b")
        .file("a", "second\n")
        .hardlink("e", "a");
    let sandbox = put(&stream.finish());
    assert_eq!(notes(&sandbox), ["a name comes twice: the last one counts"]);
    for line in [
        "bk-restore -C out a >/dev/null",
        "mkdir out; tar -xzf a.tar.gz -C out",
    ] {
        sandbox.ok(&format!("rm -rf out; {line}"));
        let facts =
            sandbox.ok("cd out; cat a b c d e; test a -ef e && test b -ef c && test b -ef d");
        assert_eq!(
            facts.stdout, "second\nfirst\nfirst\nfirst\nsecond\n",
            "{line}"
        );
    }
    for (name, content) in [("b", "first\n"), ("d", "first\n"), ("e", "second\n")] {
        let ran = sandbox.ok(&format!("bk-restore --stdout {name} a"));
        assert_eq!(ran.stdout, content);
    }
    sandbox.ok("mkdir test; bk-restore --test -C test a");
}

#[test]
fn tar_r_and_tar_u_and_a_directory_given_twice() {
    for line in [
        "tar -C src -cf a.tar d; echo second > src/d/f; tar -C src -rf a.tar d/f; gzip -n a.tar",
        "tar -C src -cf a.tar d; echo second > src/d/f; touch -d tomorrow src/d/f; tar -C src -uf a.tar d; gzip -n a.tar",
        "echo second > src/d/f; tar -C src -czf a.tar.gz d d/sub d/f",
    ] {
        let sandbox = Sandbox::new();
        sandbox.ok("mkdir -p src/d/sub; echo first > src/d/f; touch -d @1 src/d/sub");
        sandbox.ok(line);
        assert_eq!(notes(&sandbox).len(), 1, "{line}");
        assert_eq!(restored(&sandbox), ["d", "d/f", "d/sub"]);
        let facts = sandbox.ok("cat out/d/f; stat -c %Y out/d/sub").stdout;
        assert_eq!(facts, "second\n1\n", "{line}");
    }
}

#[test]
fn of_a_damaged_archive_what_is_whole_is_restored() {
    let sandbox = Sandbox::new();
    let random: Vec<u8> = (0..200_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut bad = sized(b'0', "bad", 2);
    bad.put(124, b"eleven\0");
    let stream = Tarball::new()
        .file("a", "alpha\n")
        .add(&bad, b"")
        .file("b", "beta\n")
        .add(&sized(b'0', "large", random.len() as u64), &random)
        .file("z", "omega\n");
    let whole = stream.finish();
    let mut torn = gzip(&sandbox, &whole);
    torn.truncate(torn.len() / 2);
    for (bytes, expected) in [
        (gzip(&sandbox, &whole), &["a", "b", "large", "z"][..]),
        (torn, &["a", "b"]),
        (gzip(&sandbox, &whole[..100_000]), &["a", "b"]),
    ] {
        let sandbox = put_raw(&bytes);
        let refused = sandbox.run("bk-adopt a.tar.gz");
        assert_eq!(refused.status, 1, "{refused:#?}");
        assert!(
            refused.stderr.contains("--damaged adopts it all the same"),
            "{refused:#?}"
        );
        sandbox.ok("bk-adopt --damaged --json a.tar.gz");
        for flags in ["", "--no-verify"] {
            let ran = sandbox.run(&format!("rm -rf out; bk-restore --json {flags} -C out a"));
            assert_eq!(ran.status, 1, "{ran:#?}");
            let last = "bk-restore: 'a' is damaged: only its undamaged part was restored\n";
            assert!(ran.stderr.ends_with(last), "{ran:#?}");
            let names = sandbox
                .ok("cd out; find . -type f -printf '%P\\n' | sort")
                .stdout;
            assert_eq!(names.lines().collect::<Vec<_>>(), expected);
        }
        let part =
            sandbox.run("rm -rf out; bk-restore --json --no-verify -C out a -- a; cat out/a");
        assert!(part.stdout.ends_with("alpha\n"), "{part:#?}");
    }
}

#[test]
fn of_a_damaged_archive_of_ours_what_is_whole_is_restored() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; for n in 1 2 3 4; do head -c 3000000 /dev/urandom > src/$n; done; echo last > src/5");
    sandbox.ok("bk-create --name a src");
    let path = sandbox.archive("a");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&path, bytes).unwrap();
    sandbox.run("bk-restore -C out a").fails(
        1,
        &format!(
            "bk-restore: cannot restore 'a': its archive '{}' is not what was recorded: its SHA-256 differs; bk-verify shows more, --no-verify restores what can be read\n",
            path.display()
        ),
    );
    let ran = sandbox.run("bk-restore --no-verify -C out a");
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("not restored: it is damaged"),
        "{ran:#?}"
    );
    let same = sandbox
        .ok("for n in 1 2 3 4 5; do cmp -s src/$n out/src/$n && echo $n; done; ls out/src")
        .stdout;
    let (same, left): (Vec<_>, Vec<_>) = (
        same.lines().take(4).collect(),
        same.lines().skip(4).collect(),
    );
    assert_eq!(same, left, "one of five is lost");
}

/// Members of bk's by their own lengths, with the bytes that one of them has as its checksum.
fn checksums(archive: &[u8]) -> Vec<usize> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < archive.len() {
        let length = archive[at + 16..at + 20].try_into().unwrap();
        at += u32::from_le_bytes(length) as usize;
        all.push(at - 8);
    }
    all
}

#[test]
fn a_hard_link_to_what_is_damaged_keeps_no_other_from_being_restored() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; head -c 3000000 /dev/urandom >src/a; ln src/a src/z; echo b >src/b; bk-create --name a src");
    let path = sandbox.archive("a");
    let whole = fs::read(&path).unwrap();
    // The begin of the file with its header, and a piece of its content.
    for member in [2, 3] {
        let mut bytes = whole.clone();
        bytes[checksums(&whole)[member]] ^= 1;
        fs::write(&path, bytes).unwrap();
        let ran = sandbox.run("rm -rf out; bk-restore --no-verify -C out a");
        assert_eq!(ran.status, 1, "{ran:#?}");
        let left_out = "warning: 'src/z': not restored: ";
        assert!(ran.stderr.contains(left_out), "{ran:#?}");
        let damaged = "bk-restore: 'a' is damaged: only its undamaged part was restored";
        assert_eq!(ran.stderr.lines().last(), Some(damaged));
        assert_eq!(sandbox.ok("ls out/src").stdout, "b\n");
    }
}

#[test]
fn a_damaged_archive_passes_no_test() {
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir src; for it in $(seq 100 250); do head -c 20000 /dev/urandom >src/$it; done; bk-create --name a src");
    let path = sandbox.archive("a");
    let mut bytes = fs::read(&path).unwrap();
    let at = checksums(&bytes)[2];
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = sandbox.run("bk-restore --no-verify --test a");
    assert_eq!(ran.status, 1, "{ran:#?}");
    let test = &ran.record()["backup_metadata"]["last_restored_test"];
    assert_eq!(test["ok"], false, "{ran:#?}");
    let event = sandbox.ok("bk-log | tail -n1").record();
    assert_eq!(event["outcome"], "failed");
    assert_eq!(
        event["details"]["reason"],
        "'a' is damaged: only its undamaged part was restored"
    );
}

/// Each is told, the rest is restored, and the status is 1, as with GNU tar, bsdtar and Python; a
/// test says the same.
#[test]
fn an_entry_that_cannot_be_made_keeps_no_other_from_being_restored() {
    let new = || Tarball::new();
    let long = "n".repeat(300);
    for (name, why, tar) in [
        (
            "h",
            "a hard link points to 'not/there', which is not in the archive",
            new().hardlink("h", "not/there"),
        ),
        (
            "h",
            "it is a hard link to a directory",
            new().dir("d").hardlink("h", "d"),
        ),
        (
            "h",
            "it is a hard link to a directory",
            new().hardlink("h", "d").dir("d"),
        ),
        ("a/x", "Not a directory", new().file("a/x", "x")),
        ("a/l", "Not a directory", new().symlink("a/l", "x")),
        ("a/h", "Not a directory", new().hardlink("a/h", "a")),
        ("h", "Not a directory", new().hardlink("h", "a/x")),
        (
            "d",
            "the archive has the name twice",
            new().file("d/x", "x").file("d", "x"),
        ),
        (
            "d",
            "the archive has the name twice",
            new().symlink("d", "q").file("d/x", "x"),
        ),
        (
            &*long,
            "File name too long",
            new().gnu(b'L', long.as_bytes()).file("n", "x"),
        ),
    ] {
        let stream = new().file("a", "x\n").append(&tar).file("z", "x");
        let sandbox = put(&stream.finish());
        assert_eq!(notes(&sandbox), [""; 0]);
        let told = format!(
            "bk-restore: warning: '{name}': not restored: {why}\nbk-restore: 'a' was restored without 1 of its entries, which cannot be made\n"
        );
        let ran = sandbox.run("bk-restore --json -C out a");
        assert_eq!((ran.status, &ran.stderr), (1, &told), "{name}: {why}");
        assert_eq!(ran.record()["restore"]["skipped"], 1);
        sandbox.ok("ls out/a out/z");
        let ran = sandbox.run("bk-restore --json --test a");
        assert_eq!((ran.status, &ran.stderr), (1, &told), "{name}: {why}");
        let test = &ran.record()["backup_metadata"]["last_restored_test"];
        assert_eq!(test["ok"], false, "{ran:#?}");
    }
}

#[test]
fn strict_with_archives_of_ours() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; gunzip < home/archives/a.tar.gz > a.tar");
    sandbox.ok("cp home/archives/a.tar.gz own.tar.gz; printf '\\0\\0' >> own.tar.gz; { cat a.tar; echo stale; } | gzip > stale.tar.gz; head -c -1024 a.tar | gzip > endless.tar.gz");
    sandbox.ok("gzip < a.tar > packed.tar.gz; printf '\\0\\0' >> packed.tar.gz");
    // Its first header, then what is a note in archives of others.
    let stream = fs::read(sandbox.path("a.tar")).unwrap();
    let content = usize::from_str_radix(str::from_utf8(&stream[124..135]).unwrap(), 8).unwrap();
    let odd = Tarball::new()
        .add(&Header::new(b'Z', b"odd", 0), b"")
        .finish();
    let odd = [&stream[..512 + content.next_multiple_of(512)], &odd].concat();
    fs::write(sandbox.path("odd.tar.gz"), gzip(&sandbox, &odd)).unwrap();
    for name in ["own", "stale", "endless", "packed", "odd"] {
        let ran = sandbox.run(&format!("bk-adopt {name}.tar.gz"));
        assert_eq!(ran.status, 1, "{ran:#?}");
        assert!(ran.stderr.contains("it is damaged"), "{ran:#?}");
    }
}
