//! ACLs that an archive of another program has as text alone come back like all others.

use std::time::{Duration, Instant};

use crate::support::tarball::{Header, Tarball};
use crate::support::{Sandbox, can_trace, has};

/// Access and default ACLs, with names and with numbers that no name has; entries that the mask
/// cuts; a mask alone; a default ACL that needs none.
const TREE: &str = r#"
set -e
umask 022; mkdir -p t/dir/sub t/heir t/plain; echo content >t/file; echo >t/mask; echo >t/cut; echo >t/plain/file
setfacl -m u:daemon:rw,u:12345:rwx,g:daemon:r,g:54321:- t/file
setfacl -m m:r t/mask
mkfifo t/pipe; setfacl -m u:daemon:rw t/pipe
setfacl -m u:daemon:rwx,u:12345:rw t/cut; chmod 2640 t/cut
setfacl -m u:12345:rx -m d:u:daemon:rwx,d:g:54321:r,d:m:rx t/dir
setfacl -m d:u::rwx,d:g::r,d:o::- t/heir; touch t/heir/in; chmod 1771 t/heir
touch -d @1000000000 t/*/* t/* t
"#;

/// What is to be the same: all ACLs, by number, and the modes.
const TOLD: &str =
    r#"told() (cd "$1"; find . | sort | xargs getfacl -n -p; find . -printf '%p %m %T@\n' | sort)"#;

/// A sandbox with `t/`; `None` where ACLs cannot be made.
fn with_tree() -> Option<Sandbox> {
    if !has("setfacl") {
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.ok(TREE);
    Some(sandbox)
}

fn assert_same(sandbox: &Sandbox, out: &str, way: &str) {
    let ran = sandbox.run(&format!("{TOLD}; diff <(told t) <(told {out}/t)"));
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{way}: {ran:#?}");
}

#[test]
fn archives_of_gnu_tar_and_bsdtar_come_back_with_their_acls() {
    let Some(sandbox) = with_tree() else { return };
    let mut ways = vec![
        "tar --acls -czf x.tar.gz t",
        "tar --acls --numeric-owner -czf x.tar.gz t",
    ];
    if has("bsdtar") {
        ways.push("bsdtar -czf x.tar.gz t");
        ways.push("bsdtar --format pax --no-xattrs -czf x.tar.gz t");
    }
    for way in ways {
        sandbox.ok(way);
        sandbox.ok(
            "set -e; zcat x.tar.gz | grep -aq SCHILY.acl.access; zcat x.tar.gz | grep -aq SCHILY.acl.default
             ! zcat x.tar.gz | grep -aq SCHILY.xattr",
        );
        sandbox.ok("bk-adopt --home new x.tar.gz");
        let ran = sandbox.ok("bk-restore --home new -C out x");
        assert_eq!(ran.stderr, "", "{way}");
        assert_eq!(ran.record()["restore"]["skipped"], 0, "{way}");
        assert_same(&sandbox, "out", way);
        let ran = sandbox.ok("bk-restore --home new --test -C . x");
        assert_eq!(ran.stderr, "", "{way}");
        sandbox.ok("rm -r new out");
    }
}

#[test]
fn a_user_who_is_not_root_restores_them_too() {
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        println!("skipped: this takes root and setpriv");
        return;
    }
    let Some(sandbox) = with_tree() else { return };
    sandbox.ok("tar --acls -czf x.tar.gz t; bk-adopt x.tar.gz; chmod 755 .; mkdir mine; chown -R 65534:65534 home mine");
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let ran = sandbox.ok(&format!("{user} bk-restore -C mine/out x"));
    assert_eq!(
        ran.stderr,
        "bk-restore: warning: 't/cut': not restored: its setuid and setgid bits: this needs root or --same-owner\n"
    );
    let told = format!(
        "{TOLD}; chown -R root:root mine/out; chmod g+s mine/out/t/cut; diff <(told t) <(told mine/out/t)"
    );
    assert_eq!(sandbox.ok(&told).stdout, "");
}

/// Changes the one place while `bk-restore --test` has restored and not yet read back.
fn test_of_tampered(sandbox: &Sandbox, change: &str) -> String {
    let slow =
        "strace -f --seccomp-bpf -o /dev/null -e trace=syncfs -e inject=syncfs:delay_enter=3000000";
    let child = sandbox.start(&format!("{slow} bk-restore --test -C scratch x"));
    // The first directory gets its time last of all.
    let is_restored = "test $(stat -c %Y scratch/.bk-restore-*/new/t) = 1000000000";
    let begin = Instant::now();
    while sandbox.run(is_restored).status != 0 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    sandbox.ok(&format!("cd scratch/.bk-restore-*/new/t; {change}"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{change}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_test_fails_where_the_disk_has_another_acl() {
    if !can_trace() {
        return;
    }
    let Some(sandbox) = with_tree() else { return };
    sandbox.ok("tar --acls -czf x.tar.gz t; bk-adopt x.tar.gz; mkdir scratch");
    for (change, place, kind) in [
        ("setfacl -n -m u:12345:rw file", "t/file", "access"),
        ("setfacl -n -x g:54321 file", "t/file", "access"),
        ("setfacl -n -m g::rwx cut", "t/cut", "access"),
        ("setfacl -n -m d:u:daemon:r dir", "t/dir", "default"),
        ("setfacl -k heir", "t/heir", "default"),
    ] {
        assert_eq!(
            test_of_tampered(&sandbox, change),
            format!(
                "bk-restore: '{place}': its attribute 'system.posix_acl_{kind}' differs\n\
                 bk-restore: cannot restore 'x' as a test: 1 entry is not as the archive has it\n"
            ),
            "{change}"
        );
    }
}

/// A file with these records, and its mode.
fn file(tar: Tarball, name: &str, mode: u64, records: &[(&str, &[u8])]) -> Tarball {
    let mut header = Header::new(b'0', name.as_bytes(), 1);
    header.octal(100, 8, mode);
    tar.pax(records).add(&header, b"x")
}

const ACCESS: &str = "SCHILY.acl.access";
const DEFAULT: &str = "SCHILY.acl.default";

#[test]
fn numbers_go_before_names_attributes_before_text_and_acls_before_the_mode() {
    if !has("getfacl") {
        return;
    }
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let binary = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x39\x30\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let text = b"user::rw-,user:7:rwx,group::r--,mask::rwx,other::r--";
    let new = Tarball::new().dir("t");
    let number = b"u::rw,u:daemon:rw-:4242,g::r,m::rw,o:r";
    let tar = file(new, "t/number", 0o664, &[(ACCESS, number)]);
    let both: &[(&str, &[u8])] = &[
        (ACCESS, text),
        ("SCHILY.xattr.system.posix_acl_access", binary),
    ];
    let tar = file(tar, "t/both", 0o644, both);
    let tar = file(tar, "t/mode", 0o4600, &[(ACCESS, text)]);
    let minimal = b"user::rwx,group::rwx,other::rwx";
    let tar = file(tar, "t/minimal", 0o600, &[(ACCESS, minimal)]);
    let tar = file(tar, "t/none", 0o644, &[(ACCESS, b""), (DEFAULT, b" # \n")]);
    sandbox.put_archive(&tar.finish());
    let ran = sandbox.ok("bk-restore -C out a && bk-restore --test -C . a");
    assert_eq!(ran.stderr, "");
    let told = sandbox
        .ok("cd out/t; getfacl -c -n number both mode minimal none | paste -sd ' '; stat -c %a *");
    assert_eq!(
        told.stdout,
        "user::rw- user:4242:rw- group::r-- mask::rw- other::r--  \
         user::rw- user:12345:r-- group::r-- mask::r-- other::r--  \
         user::rw- user:7:rwx group::r-- mask::rwx other::r--  \
         user::rw- group::--- other::---  \
         user::rw- group::r-- other::r-- \n644\n600\n4674\n644\n664\n"
    );
}

#[test]
fn an_acl_that_cannot_be_is_left_out_and_told() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; mkdir scratch");
    let base = "user::rw-,group::r--,other::r--";
    let cases = [
        (
            "gone",
            "user:no-such-user:r,m::r",
            "unknown user 'no-such-user'",
        ),
        (
            "group",
            "group:no-such-group:r,m::r",
            "unknown group 'no-such-group'",
        ),
        (
            "nonsense",
            "nonsense",
            "'nonsense' is not an entry of an ACL",
        ),
        (
            "number",
            "user:daemon:r--:99999999999,m::r",
            "'99999999999' is not the id of a user",
        ),
        ("mask", "user:1:r--", "it has no entry 'mask::'"),
        (
            "twice",
            "user:1:r--,user:1:r--,m::r",
            "it has an entry twice",
        ),
    ];
    let mut tar = Tarball::new().dir("t");
    let mut warnings = String::new();
    let mut warn = |name: &str, kind: &str, reason: &str| {
        warnings += &format!(
            "bk-restore: warning: 't/{name}': not restored: its attribute 'system.posix_acl_{kind}': {reason}\n"
        );
    };
    for (name, entry, reason) in cases {
        let text = format!("{base},{entry}");
        tar = file(
            tar,
            &format!("t/{name}"),
            0o644,
            &[(ACCESS, text.as_bytes())],
        );
        warn(name, "access", reason);
    }
    let many: String = (0..9000).map(|id| format!("u:{id}:r\n")).collect();
    tar = file(tar, "t/many", 0o644, &[(ACCESS, many.as_bytes())]);
    warn("many", "access", "it has more than 8191 entries");
    let long = [b'\xff'; 900_000];
    tar = file(tar, "t/long", 0o644, &[(DEFAULT, &long)]);
    let shown = "\\xff".repeat(60);
    warn(
        "long",
        "default",
        &format!("'{shown}...' is not an entry of an ACL"),
    );
    sandbox.put_archive(&tar.finish());
    let ran = sandbox.run("bk-restore -C out a");
    ran.fails(0, &warnings);
    let restore = &ran.record()["restore"];
    assert_eq!(restore["skipped"], 8);
    assert_eq!(restore["skipped_entries"][0]["path"], "t/gone");
    let modes = sandbox
        .ok("stat -c %A out/t/* | sort | uniq -c; cat out/t/*")
        .stdout;
    assert_eq!(modes, "      8 -rw-r--r--\nxxxxxxxx");
    sandbox
        .run("bk-restore --test -C scratch a")
        .fails(0, &warnings);
}

/// The same as with one that the archive has in binary.
#[test]
fn a_default_acl_of_a_file_is_left_out_and_said() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    let tar = file(Tarball::new(), "x", 0o644, &[(DEFAULT, b"u::r,g::r,o::r")]);
    sandbox.put_archive(&tar.finish());
    let warning = "bk-restore: warning: 'x': not restored: its attribute 'system.posix_acl_default': Permission denied\n";
    sandbox.run("bk-restore -C out a").fails(0, warning);
    sandbox.run("bk-restore --test -C . a").fails(
        0,
        &format!(
            "{warning}bk-restore: warning: 'x': its attribute 'system.posix_acl_default' is not restored: \
             this file system does not store it as it is in the archive; others of the kind are counted, not named\n"
        ),
    );
}
