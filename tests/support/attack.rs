//! The harness of hostile archives: each is restored in every way, and the surroundings of the
//! target are compared before and after.

use std::fs;

use super::tarball::Tarball;
use super::{Ran, Sandbox, stride};

/// All that could be changed around a target: kinds, modes, owners, times, links, content. The
/// directory in which targets are made changes with them; the catalog is bk's own.
pub const SURROUNDINGS: &str = "
    find . -path ./home -prune -o -path ./out -prune -o ! -path . -printf '%p %y %m %U:%G %s %T@ %n %l\\n' | sort
    find outside -type f -print0 | sort -z | xargs -0 sha256sum
    find outside -print0 | sort -z | xargs -0 getfattr -h -d -m - 2>/dev/null; true";

/// A sandbox with a backup `a` to be replaced, and something outside to be harmed.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("outside/victim", "precious\n");
    sandbox.write("outside/dir/inner", "precious too\n");
    sandbox
        .ok("bk-create --name a outside; chmod 700 outside/dir; touch -d @1 outside/dir outside");
    sandbox
}

pub struct Attack {
    name: &'static str,
    tar: Vec<u8>,
    /// What stderr says; none where all is restored.
    error: Option<&'static str>,
    /// Whether the other entries are restored then.
    is_partly: bool,
}

/// Nothing is restored.
pub fn refused(name: &'static str, tar: Tarball, error: &'static str) -> Attack {
    Attack {
        name,
        tar: tar.finish(),
        error: Some(error),
        is_partly: false,
    }
}

/// Something is left out, and the rest restored.
pub fn partly(name: &'static str, tar: Tarball, error: &'static str) -> Attack {
    Attack {
        is_partly: true,
        ..refused(name, tar.file("kept", "x"), error)
    }
}

pub fn harmless(name: &'static str, tar: Tarball) -> Attack {
    Attack {
        name,
        tar: tar.finish(),
        error: None,
        is_partly: false,
    }
}

/// The ways to restore; `out` is new, where we stand, in use, exchanged, or for a test.
const WHOLE: [&str; 5] = [
    "bk-restore -C out a",
    "mkdir out; (cd out; bk-restore -C . a)",
    "mkdir -p out/old; bk-restore -C out --into-existing --overwrite a",
    "mkdir -p out/old; bk-restore -C out --swap a; e=$?; rm -rf out.before-1; exit $e",
    "mkdir out; bk-restore --test -C out a",
];
/// Others, that meet a part of what is in the archive.
const PARTS: &str = "bk-restore --strip-components 1 -C out a; rm -rf out
    bk-restore -C out a -- d; rm -rf out; bk-restore -C out --path '*' --max-size 1M a
    bk-restore --stdout d/x a; bk-restore --stdout h a; true";

/// Restores each in every way, or by turns in one of them, and looks whether anything changed.
pub fn attack(sandbox: &Sandbox, attacks: Vec<Attack>) {
    let before = sandbox.ok(SURROUNDINGS).stdout;
    let stride = stride(5);
    for (number, attack) in attacks.into_iter().enumerate() {
        let what = attack.name;
        sandbox.put_archive(&attack.tar);
        for line in WHOLE.iter().skip(number % stride).step_by(stride) {
            let ran = sandbox.run(&format!("rm -rf out; {line}"));
            check_outcome(&attack, &ran);
            if ran.status != 0
                && !attack.is_partly
                && let Ok(out) = fs::read_dir(sandbox.path("out"))
            {
                let left: Vec<_> = out.map(|it| it.unwrap().file_name()).collect();
                assert!(left.iter().all(|name| name == "old"), "{what}: {ran:#?}");
            }
        }
        let parts = (number % stride == 0).then(|| sandbox.run(PARTS));
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
            assert_eq!(ran.status, 1, "{what}: {ran:#?}");
            assert_eq!(ran.stdout.is_empty(), !attack.is_partly, "{what}: {ran:#?}");
            assert!(ran.stderr.contains(error), "{what}: {ran:#?}");
            let lines = ran.stderr.lines();
            let is_told = |line: &str| line.starts_with("bk-restore: ");
            assert!(lines.into_iter().all(is_told), "{what}: {ran:#?}");
        }
    }
}

/// A file of the sandbox as an absolute path.
pub fn absolute(sandbox: &Sandbox, name: &str) -> String {
    sandbox.path(name).to_str().unwrap().to_owned()
}

pub const TWICE: &str = "the archive has the name twice";
