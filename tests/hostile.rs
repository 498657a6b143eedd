//! Hostile archives: whatever they hold, nothing outside of the target changes.
//!
//! Every class of attack, and the shapes of the known CVEs of tar-rs, GNU tar, node-tar and
//! Python's tarfile. The surroundings are compared before and after.

use std::fs;

use bk_tests::tarball::{Header, Tarball};
use bk_tests::{Ran, Sandbox, has};

/// All that could be changed around a target: kinds, modes, owners, times, links, content. The
/// directory in which targets are made changes with them; the catalog is bk's own.
const SURROUNDINGS: &str = "
    find . -path ./home -prune -o -path ./out -prune -o ! -path . -printf '%p %y %m %U:%G %s %T@ %n %l\\n' | sort
    find outside -type f -print0 | sort -z | xargs -0 sha256sum
    find outside -print0 | sort -z | xargs -0 getfattr -h -d -m - 2>/dev/null; true";

/// A sandbox with a backup `a` to be replaced, and something outside to be harmed.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("outside/victim", "precious\n");
    sandbox.write("outside/dir/inner", "precious too\n");
    sandbox.ok("bk-create -n a outside; chmod 700 outside/dir; touch -d @1 outside/dir outside");
    sandbox
}

impl Attack {
    /// The file of that name outside, as an absolute path.
    fn absolute(sandbox: &Sandbox, name: &str) -> String {
        sandbox.path(name).to_str().unwrap().to_owned()
    }
}

struct Attack {
    name: &'static str,
    tar: Vec<u8>,
    /// What stderr says; none where all is restored.
    error: Option<&'static str>,
}

fn refused(name: &'static str, tar: Tarball, error: &'static str) -> Attack {
    Attack {
        name,
        tar: tar.finish(),
        error: Some(error),
    }
}

fn harmless(name: &'static str, tar: Tarball) -> Attack {
    Attack {
        name,
        tar: tar.finish(),
        error: None,
    }
}

/// The ways to restore; `out` is new, empty, where we stand, in use, exchanged, or for a test.
const WHOLE: [&str; 6] = [
    "bk-restore -C out a",
    "mkdir out; bk-restore -C out a",
    "mkdir out; (cd out; bk-restore -C . a)",
    "mkdir -p out/old; bk-restore -C out --into-existing --overwrite a",
    "mkdir -p out/old; bk-restore -C out --swap a; e=$?; rm -rf out.before-1; exit $e",
    "mkdir out; bk-restore --test -C out a",
];
/// Others, that meet a part of what is in the archive.
const PARTS: &str = "bk-restore --strip-components 1 -C out a; rm -rf out
    bk-restore -C out a -- d; rm -rf out; bk-restore -C out --path '*' --max-size 1M a
    bk-restore --stdout d/x a; bk-restore --stdout h a; true";

/// Restores each in every way, and looks whether anything changed.
fn attack(sandbox: &Sandbox, attacks: Vec<Attack>) {
    let before = sandbox.ok(SURROUNDINGS).stdout;
    for attack in attacks {
        let what = attack.name;
        sandbox.put_archive(&attack.tar);
        for line in WHOLE {
            let ran = sandbox.run(&format!("rm -rf out; {line}"));
            check_outcome(&attack, &ran);
            if ran.status != 0
                && let Ok(out) = fs::read_dir(sandbox.path("out"))
            {
                let left: Vec<_> = out.map(|it| it.unwrap().file_name()).collect();
                assert!(left.iter().all(|name| name == "old"), "{what}: {ran:#?}");
            }
        }
        let parts = sandbox.run(PARTS);
        assert!(!parts.stderr.contains("panic"), "{what}: {parts:#?}");
        let after = sandbox.ok(SURROUNDINGS).stdout;
        assert_eq!(after, before, "{what}: {parts:#?}");
        assert!(!after.contains(".bk-restore-"), "{what}: {after}");
    }
}

fn check_outcome(attack: &Attack, ran: &Ran) {
    let what = attack.name;
    match attack.error {
        None => assert_eq!(ran.status, 0, "{what}: {ran:#?}"),
        Some(error) => {
            assert_eq!((ran.status, &*ran.stdout), (1, ""), "{what}: {ran:#?}");
            assert!(ran.stderr.contains(error), "{what}: {ran:#?}");
            let lines = ran.stderr.lines();
            let is_told = |line: &str| line.starts_with("bk-restore: ");
            assert!(lines.into_iter().all(is_told), "{what}: {ran:#?}");
        }
    }
}

const UP: &str = "leads up";
const TWICE: &str = "the archive has the name twice";
const NOT_HELD: &str = "which the archive does not hold";

#[test]
fn names_that_lead_out_do_not() {
    let sandbox = sandbox();
    let victim = Attack::absolute(&sandbox, "outside/victim");
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
    let outside = Attack::absolute(&sandbox, "outside");
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
    let victim = Attack::absolute(&sandbox, "outside/victim");
    let outside = Attack::absolute(&sandbox, "outside");
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

#[test]
fn names_that_come_twice_are_an_error() {
    let sandbox = sandbox();
    let new = || Tarball::new();
    attack(
        &sandbox,
        vec![
            refused("files", new().file("f", "x").file("f", "y"), TWICE),
            refused(
                "files, differently written",
                new().file("f", "x").file("./f", "y"),
                TWICE,
            ),
            refused(
                "directories",
                new().dir("d").file("d/x", "x").dir("d"),
                TWICE,
            ),
            refused("links", new().symlink("l", "a").symlink("l", "b"), TWICE),
            refused(
                "a directory and a file",
                new().dir("d").file("d", "x"),
                TWICE,
            ),
            refused(
                "a file and a directory",
                new().file("d", "x").dir("d"),
                TWICE,
            ),
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
    let deep = "d/".repeat(4097);
    let long = format!("n/{}", "x/".repeat(40_000));
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
            refused(
                "depth",
                new().gnu(b'L', deep.as_bytes()).file("x", "x"),
                "more than 4096 parts",
            ),
            refused(
                "a long name",
                new().pax(&[("path", long.as_bytes())]).file("x", "x"),
                "longer than 65536",
            ),
            refused(
                "a long header",
                new().raw_pax(&vec![b'x'; (1 << 20) + 1]),
                "longer than 1048576",
            ),
            refused(
                "a malformed header",
                new().raw_pax(b"99 x=y\n").file("x", "x"),
                "malformed",
            ),
            refused(
                "many extents in a record",
                new()
                    .pax(&[("GNU.sparse.map", many.as_bytes())])
                    .file("x", "x"),
                "longer than 1048576",
            ),
            refused(
                "many extents in a map",
                new()
                    .pax(&sparse)
                    .add(&Header::new(b'0', b"x", map.len() as u64), &map),
                "more than 1000000 extents",
            ),
            refused(
                "extents that overlap",
                new()
                    .pax(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,5,2,4")])
                    .file("x", "123456789"),
                "overlap or leave the file",
            ),
            refused(
                "an owner that is none",
                new().pax(&[("uid", b"4294967295")]).file("x", "x"),
                "owner is out of range",
            ),
            refused(
                "a NUL in a name",
                new().pax(&[("path", b"a\0b")]).file("x", "x"),
                "holds a NUL",
            ),
            refused("an empty name", new().file("", "x"), "a name is empty"),
            refused(
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
    let test = sandbox.run("bk-restore --test -C outside a; rm -rf out");
    assert!(test.stderr.contains("differs"), "{test:#?}");
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

/// What lies in a directory that is restored into is as hostile as the archive.
#[test]
fn links_in_the_target_are_not_gone_through_either() {
    let sandbox = sandbox();
    let before = sandbox.ok(SURROUNDINGS).stdout;
    let tar = Tarball::new()
        .file("d/victim", "x")
        .file("f", "x")
        .file("h", "x");
    sandbox.put_archive(&tar.finish());
    let plant = "rm -rf out; mkdir out; ln -s ../outside out/d; ln -s ../outside/victim out/f; echo old >out/h; ln out/h out/i;";
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
    sandbox.ok("bk-restore --into-existing --overwrite -C out a");
    let new = sandbox
        .ok("cat out/d/victim out/f out/h out/i; stat -c %F out/d out/f")
        .stdout;
    assert_eq!(new, "xxxold\ndirectory\nregular file\n");
    assert_eq!(sandbox.ok(SURROUNDINGS).stdout, before);
}

/// Swaps, as fast as it can, the directories of whatever is being restored for links to
/// outside, and back. The restoration runs as the same user: 0700 keeps others out.
const SWAPPER: &str = "import ctypes, os, random, time
libc = ctypes.CDLL(None)
outside = os.path.abspath('outside/dir')
flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
def swap(dir, name):
    link = name + '.link'
    try:
        os.symlink(outside, link, dir_fd=dir)
    except OSError:
        pass
    for _ in range(random.randrange(4)):
        for _ in range(2):
            libc.renameat2(dir, name.encode(), dir, link.encode(), 2)
    os.unlink(link, dir_fd=dir)
while True:
    time.sleep(random.random() / 5)
    for stage in os.listdir('.'):
        if not stage.startswith('.bk-restore-'):
            continue
        fds = []
        try:
            fds.append(os.open(stage, flags))
            swap(fds[-1], 'new')
            fds.append(os.open('new', flags, dir_fd=fds[-1]))
            swap(fds[-1], 'd')
            fds.append(os.open('d', flags, dir_fd=fds[-1]))
            swap(fds[-1], 'e')
        except OSError:
            pass
        for fd in fds:
            os.close(fd)
";

fn race(seconds: u64, faults: &str) {
    if !has("python3") {
        return;
    }
    let sandbox = sandbox();
    sandbox.ok("touch -d @1 outside/dir/inner; chmod 755 outside/dir");
    let before = sandbox.ok(SURROUNDINGS).stdout;
    let mut tar = Tarball::new().dir("d").dir("d/e");
    for number in 0..400 {
        tar = tar
            .file(&format!("d/file{number}"), "x")
            .file(&format!("d/e/inner{number}"), "y")
            .dir(&format!("d/e/{number}"))
            .hardlink(&format!("d/e/{number}/hard"), "d/e/inner0")
            .symlink(&format!("d/e/link{number}"), "x");
    }
    sandbox.put_archive(&tar.file("d/inner", "z").file("d/e/inner", "z").finish());
    let mut swapper = sandbox
        .command("python3")
        .args(["-c", SWAPPER])
        .spawn()
        .unwrap();
    let begin = std::time::Instant::now();
    let (mut done, mut failed) = (0, 0);
    while begin.elapsed().as_secs() < seconds {
        let ran = sandbox.run(&format!(
            "{faults} bk-restore -C out a; e=$?; rm -rf out; exit $e"
        ));
        assert!(ran.status < 2, "{ran:#?}");
        if ran.status == 0 {
            done += 1
        } else {
            failed += 1
        }
    }
    swapper.kill().unwrap();
    swapper.wait().unwrap();
    println!("{done} restorations came to their end, {failed} met a swap");
    assert!(failed > 0, "{done} restorations met no swap");
    let after = sandbox
        .ok(&format!("rm -rf .bk-restore-*; {SURROUNDINGS}"))
        .stdout;
    assert_eq!(after, before);
}

#[test]
fn a_race_for_links_is_not_won() {
    race(3, "");
}

/// As on a kernel before 5.6.
#[test]
fn a_race_is_not_won_where_the_kernel_lacks_openat2() {
    if bk_tests::can_trace() {
        race(
            3,
            "strace -f -o /dev/null -e trace=openat2 -e inject=openat2:error=ENOSYS",
        );
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_race_of_some_length_is_not_won() {
    race(20, "");
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
        mib < 200 && ran.stderr.contains("kept in mind"),
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
