//! The README: what it shows is typed here, and brings what it shows.
//!
//! Blocks of `console` are one session on a terminal, with its output; those of `sh` must succeed
//! after it. Times, sizes and blanks may differ.

use std::fs;

use regex::Regex;

use crate::support::{Sandbox, checkout, has};

/// The blocks of one kind, in their order.
fn blocks(kind: &str) -> Vec<String> {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let all = readme.split("\n```").collect::<Vec<_>>();
    let meant = all.iter().filter_map(|block| block.strip_prefix(kind));
    let texts: Vec<_> = meant.map(|text| text.trim_start().to_owned()).collect();
    assert!(!texts.is_empty(), "{kind}");
    texts
}

fn steady(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, shown) in [
        (r"20\d\d-\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME"),
        (r"\d+(\.\d+)? [KM]iB", "SIZE"),
        (r"\b\d\.\d\b", "SECONDS"),
        (r" +", " "),
    ] {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, shown)
            .into_owned();
    }
    text
}

#[test]
fn what_the_readme_shows_is_what_comes() {
    if !has("jq") || !has("script") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("app/config.toml", "port = 8080\n");
    let orders: String = (0..18_000).map(|n| format!("order {n}\n")).collect();
    sandbox.write("app/data/orders.db", &orders);
    let dir = sandbox.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    for block in blocks("console") {
        let mut shown = String::new();
        for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            // A terminal for standard output alone, so that a table comes and no progress bar.
            sandbox.write("typed", &format!("{{ {command}\n}} 2>err"));
            let ran =
                sandbox.run("NO_COLOR=1 script -qec 'bash typed' /dev/null | tr -d '\\r'; cat err");
            let out = ran.stdout.replace(dir, "/srv");
            shown.push_str(&format!("$ {command}\n{out}"));
        }
        assert_eq!(steady(shown.trim()), steady(block.trim()), "{shown}");
    }
    for block in blocks("sh\n") {
        for command in block.lines() {
            sandbox.ok(&command.replace("/srv", dir));
        }
    }
}
