//! Transcripts of real command lines: what is typed, what comes out, the exit status.
//!
//! Each file of `transcripts/` is one session in one sandbox with `app/` in it. A line that
//! begins with `$ ` is typed, `? N` is an exit status that is not 0, the rest is output. What
//! differs from run to run stands in brackets. `SNAPSHOTS=overwrite` writes the files anew.

use std::fs;

use crate::support::{Sandbox, checkout, has};
use snapbox::{Assert, Data, Redactions};

fn replay(typed: &str) -> String {
    let sandbox = Sandbox::with_app();
    let mut transcript = String::new();
    for line in typed.lines() {
        if line.starts_with('#') {
            let space = if transcript.is_empty() { "" } else { "\n" };
            transcript.push_str(&format!("{space}{line}\n"));
        }
        let Some(command) = line.strip_prefix("$ ") else {
            continue;
        };
        let ran = sandbox.run(&format!("{{ {command}\n}} 2>&1"));
        transcript.push_str(&format!("$ {command}\n{}", ran.stdout));
        if ran.status != 0 {
            transcript.push_str(&format!("? {}\n", ran.status));
        }
    }
    let dir = sandbox.path("");
    transcript.replace(dir.to_str().unwrap().trim_end_matches('/'), "[DIR]")
}

fn redactions() -> Redactions {
    let mut redactions = Redactions::new();
    for (name, pattern) in [
        ("[HASH]", r"\b[0-9a-f]{64}\b"),
        ("[TIMESTAMP]", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
        ("[LOCALTIME]", r"20\d\d-\d\d-\d\d \d\d:\d\d(:\d\d)?"),
        ("[STAMP]", r"20\d\d-\d\d-\d\d_\d\d-\d\d-\d\d"),
        ("[SIZE]", r#""backup_size":(?<redacted>\d+)"#),
        ("[SIZE]", r#""new_bytes":(?<redacted>\d+)"#),
        ("[SIZE]", r"new bytes +(?<redacted>\d+ \([^)]+\))"),
        ("[SIZE]", r"has (?<redacted>\d+) bytes, which"),
        ("[SIZE]", r"size +(?<redacted>\d+ \([^)]+\))"),
        ("[SIZE]", r"\b\d+(\.\d+)? [KMGT]iB"),
        ("[HOST]", r#""host":"(?<redacted>[^"]+)""#),
        ("[HOST]", r"host {12}  (?<redacted>\S+)"),
        ("[HOST]", r"app, (?:manual|pre-upgrade), (?<redacted>\S+)"),
        ("[FREE]", r#""available_bytes":(?<redacted>\d+)"#),
    ] {
        let regex = regex::Regex::new(pattern).unwrap();
        redactions.insert(name, regex).unwrap();
    }
    redactions
}

#[test]
fn what_is_typed_brings_what_is_written() {
    if !has("jq") || !has("python3") {
        return;
    }
    let dir = checkout().join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let expected = Data::read_from(&file, None);
        let typed = fs::read_to_string(&file).unwrap();
        Assert::new()
            .action_env("SNAPSHOTS")
            .normalize_paths(false)
            .redact_with(redactions())
            .eq(replay(&typed), expected);
    }
}
