//! The archive of another program in a sandbox: adopted, checked, restored, with the notes on it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::tarball::Header;
use super::{Ran, Sandbox};

/// Compressed by gzip(1) as one member.
pub fn gzip(sandbox: &Sandbox, bytes: &[u8]) -> Vec<u8> {
    let mut gzip = sandbox.command("gzip");
    let mut gzip = gzip
        .args(["-n", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let bytes = bytes.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap();
    output.stdout
}

pub fn put_raw(bytes: &[u8]) -> Sandbox {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("a.tar.gz"), bytes).unwrap();
    sandbox
}

/// A sandbox with the archive `a.tar.gz` of this stream.
pub fn put(stream: &[u8]) -> Sandbox {
    let sandbox = Sandbox::new();
    let bytes = gzip(&sandbox, stream);
    fs::write(sandbox.path("a.tar.gz"), bytes).unwrap();
    sandbox
}

/// The notes that adopting tells, which a deep check tells too; nothing else is said.
pub fn notes(sandbox: &Sandbox) -> Vec<String> {
    let told = |ran: &Ran, prefix: &str| -> Vec<String> {
        let note = |line: &str| {
            let note = line.strip_prefix(prefix);
            note.unwrap_or_else(|| panic!("{ran:#?}")).to_owned()
        };
        ran.stderr.lines().map(note).collect()
    };
    let adopted = sandbox.ok("bk-adopt --json a.tar.gz");
    let prefix = format!("bk-adopt: note: '{}': ", sandbox.path("a.tar.gz").display());
    let notes = told(&adopted, &prefix);
    let record = adopted.record();
    let kept = record["backup_metadata"]["archive_notes"]
        .as_array()
        .cloned();
    let kept = kept.unwrap_or_default();
    assert_eq!(
        kept,
        notes
            .iter()
            .map(|it| Value::from(&**it))
            .collect::<Vec<_>>()
    );
    let verified = sandbox.ok("bk-verify --deep --json a");
    assert_eq!(told(&verified, "bk-verify: note: 'a': "), notes);
    assert_eq!(verified.record()["verify"]["ok"], true);
    notes
}

/// The files that are restored, in their order.
pub fn restored(sandbox: &Sandbox) -> Vec<String> {
    let line = "rm -rf out; bk-restore --json --numeric-owner -C out a >/dev/null && cd out && find . -mindepth 1 -printf '%P\\n' | sort";
    let ran = sandbox.ok(line);
    ran.stdout.lines().map(str::to_owned).collect()
}

pub fn listed(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.ok("bk-ls --files --json a").records()
}

pub fn sized(flag: u8, name: &str, size: u64) -> Header {
    Header::new(flag, name.as_bytes(), size)
}
