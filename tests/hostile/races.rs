//! Races: directories are swapped for links while a restoration runs, and nothing outside of
//! the target changes.

use crate::support::attack::*;
use crate::support::tarball::Tarball;
use crate::support::{Sandbox, can_trace, has};

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
    // However busy the machine is, some swap is to be met.
    while begin.elapsed().as_secs() < seconds || (failed == 0 && begin.elapsed().as_secs() < 90) {
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
    if crate::support::can_trace() {
        race(
            3,
            "strace -f --seccomp-bpf -o /dev/null -e trace=openat2 -e inject=openat2:error=ENOSYS",
        );
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_race_of_some_length_is_not_won() {
    race(20, "");
}

/// In the directory that a file is about to be made in, somebody lays a link of its name.
#[test]
fn a_link_in_the_place_of_a_file_is_not_written_through() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("mkdir app; echo one >app/a; echo precious >victim; bk-create --name a app");
    // The stage, a trial of its mode, its tree, `app`.
    let link = "(cd .bk-restore-*/new/app && ln -s ../../../victim a)";
    let ran = sandbox.stopped_at("mkdirat", "", 4, "bk-restore -C out a", link);
    assert_eq!(ran.status, 1, "{ran:#?}");
    let told = "bk-restore: warning: 'app/a': not restored: ";
    assert!(ran.stderr.starts_with(told), "{ran:#?}");
    assert_eq!(
        sandbox.ok("cat victim; ls").stdout,
        "precious\napp\nhome\nout\ntrace\nvictim\n"
    );
}
