//! The man pages: the same flags as the programs, lint, and examples that run as they stand.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Sandbox, checkout, has};

fn pages() -> Vec<PathBuf> {
    let dir = fs::read_dir(checkout().join("man")).unwrap();
    let mut pages: Vec<_> = dir.map(|page| page.unwrap().path()).collect();
    pages.sort();
    pages
}

fn programs() -> Vec<String> {
    let dir = fs::read_dir(checkout().join("bins")).unwrap();
    dir.map(|bin| bin.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// `-t`, `--type` and so on, each with whether it takes a value.
fn flags_of_help(help: &str) -> BTreeSet<(String, bool)> {
    let flags = help.lines().filter(|line| line.trim().starts_with('-'));
    let mut all = BTreeSet::new();
    for line in flags {
        let columns = line.trim().split("  ").next().unwrap();
        let has_value = columns.split(", ").last().unwrap().contains(' ');
        for flag in columns.split(", ") {
            let flag = flag.split(' ').next().unwrap();
            all.insert((flag.to_owned(), has_value));
        }
    }
    all
}

/// The same from the lines `.It Fl t , Fl -type Ar TYPE` of a page.
fn flags_of_page(page: &str) -> BTreeSet<(String, bool)> {
    let mut all = BTreeSet::new();
    for item in page.lines().filter_map(|line| line.strip_prefix(".It Fl ")) {
        let has_value = item.contains(" Ar ") || item.contains(" Cm ");
        for flag in item.split(" , Fl ") {
            let flag = flag.split(' ').next().unwrap();
            all.insert((format!("-{flag}"), has_value));
        }
    }
    all
}

#[test]
fn every_flag_is_in_the_page_and_every_flag_of_the_page_is_one() {
    let sandbox = Sandbox::new();
    for program in programs() {
        let help = flags_of_help(&sandbox.ok(&format!("{program} --help")).stdout);
        let page = fs::read_to_string(checkout().join(format!("man/{program}.1")));
        let page = flags_of_page(&page.unwrap_or_else(|_| panic!("no man page of {program}")));
        assert!(help.len() > 6, "{help:?}");
        assert_eq!(help, page, "{program}");
    }
}

#[test]
fn every_page_lints_clean() {
    let linter: &[&str] = if has("mandoc") {
        &["mandoc", "-Tlint", "-W", "warning"]
    } else if has("groff") {
        &["groff", "-mdoc", "-ww", "-Tutf8"]
    } else {
        return;
    };
    assert!(pages().len() >= 4);
    for page in pages() {
        let output = Command::new(linter[0])
            .args(&linter[1..])
            .arg(&page)
            .output()
            .unwrap();
        let complaints = match linter[0] {
            "mandoc" => output.stdout,
            _ => output.stderr,
        };
        let complaints = String::from_utf8(complaints).unwrap();
        assert!(
            output.status.success() && complaints.is_empty(),
            "{complaints}"
        );
    }
}

#[test]
fn every_page_says_what_each_needs_to_know() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // It would join two lines; what is to be read as one is \e.
        let joined = text.lines().find(|line| line.ends_with('\\'));
        assert_eq!(joined, None, "{page:?}");
        let mut sections = vec!["NAME", "DESCRIPTION", "SEE ALSO"];
        if page.extension().unwrap() == "1" {
            sections.extend(["SYNOPSIS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"]);
        }
        for section in sections {
            assert!(
                text.contains(&format!("\n.Sh {section}\n")),
                "{section} in {page:?}"
            );
        }
    }
}

/// The commands of a section of a page: what stands after `$ ` in its displays, continued after `> `.
pub fn commands(page: &str, section: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let title = format!("\n.Sh {section}\n");
    let text = page.split(&title).nth(1).unwrap_or_default();
    for line in text.split("\n.Sh ").next().unwrap().lines() {
        let line = line
            .replace(r"\e", r"\")
            .replace(r"\&", "")
            .replace(r"\(aq", "'");
        let line = line.replace(r"\-", "-").replace(r"\(dq", "\"");
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(command.to_owned());
        } else if let Some(more) = line.strip_prefix("> ") {
            let last = commands.last_mut().expect("a command to go on with");
            last.push('\n');
            last.push_str(more);
        }
    }
    commands
}

#[test]
fn every_example_runs_as_it_stands() {
    if !has("jq") {
        return;
    }
    let mut count = 0;
    for page in pages() {
        let sandbox = Sandbox::with_app();
        sandbox.write("notes/today.txt", "today\n");
        sandbox.write("notes/later.txt", "later\n");
        let text = fs::read_to_string(&page).unwrap();
        let sections = ["A WEEK WITH BK", "EXAMPLES"];
        for command in sections.iter().flat_map(|it| commands(&text, it)) {
            let ran = sandbox.run(&command);
            assert_eq!(ran.status, 0, "{page:?}: {ran:#?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
