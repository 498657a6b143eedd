//! Many programs at work on one store at once, and many one after the other, each killed at some
//! time: none is lost, nothing that was printed is undone, and nobody waits for long.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::support::Ran;
use crate::support::life::{Store, is_completed, name};
use crate::support::tarball::Tarball;
use regex::Regex;
use serde_json::Value;

const ARCHIVES: i64 = 1000;
/// Whoever waits longer would give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Why one backup may not be worked on: somebody else was faster, or is at it.
const RIGHT_REASONS: &str = "is gone|somebody is at work on it|was removed while|it is deleting|it is moving|there is no backup|another program|is missing|is being \
                             |changed meanwhile|was removed in the meantime|No such file";

/// A store of a thousand archives that other programs made, or of a part of that.
fn large(part: i64) -> Store {
    let store = Store::new("true");
    let sandbox = &store.sandbox;
    for n in 1..=ARCHIVES / part {
        let tar = Tarball::new().file("app/number", &format!("{n}\n"));
        std::fs::write(sandbox.path(&format!("store/r{n}.tar")), tar.finish()).unwrap();
    }
    sandbox.ok("gzip -1 store/*.tar && bk-adopt -r store >/dev/null");
    store
}

/// Fifty command lines, that work on each other's backups, of which there is a part of a thousand.
fn crowd(round: usize, part: usize) -> Vec<String> {
    let range = |first: usize, count: usize| {
        let first = first.div_ceil(part);
        format!("seq {first} {}", first + count / part - 1)
    };
    let mut lines = Vec::new();
    for n in 0..8 {
        lines.push(format!(
            r#"for k in 1 2 3; do echo '{{"sources":["app"],"backup_name":"new{round}-{n}-'$k'"}}'; done | bk-create --storage store -"#
        ));
        // Each of these shares a third of its backups with the next.
        lines.push(format!("{} | bk-rm", range(500 * round + 40 * n + 1, 60)));
    }
    for n in 0..6 {
        lines.push("bk-ls --json".to_owned());
        let dir = ["near", "store"][n % 2];
        lines.push(format!(
            "{} | bk-mv {dir}",
            range(500 * round + 60 * n + 1, 60)
        ));
        let first = 500 * round + 70 * n + 1;
        lines.push(format!(
            "{} | bk-set -m mark{round}{n}=1",
            range(first, 100)
        ));
    }
    for n in 0..5 {
        lines.push(format!("{} | bk-verify", range(190 * n + 1, 100)));
    }
    for n in 0..4 {
        let candidates = range(500 * round + 350 + 20 * n, 60);
        lines.push(format!(
            "{candidates} | bk-prune --keep-last 30 --group-by none -"
        ));
        lines.push(match n {
            0 | 1 => format!("bk-adopt near/in{round}-{n}-*"),
            _ => "bk-adopt -r store".to_owned(),
        });
    }
    for n in 0..3 {
        lines.push(format!("{} | bk-restore --test", range(300 * n + 200, 8)));
    }
    lines
}

/// Runs them at once, each with the time that it took.
fn run_at_once(store: &Store, lines: &[String]) -> Vec<(Ran, Duration)> {
    scope(|scope| {
        let timed = |line| {
            let began = Instant::now();
            (store.sandbox.run(line), began.elapsed())
        };
        let threads: Vec<_> = lines
            .iter()
            .map(|it| scope.spawn(move || timed(it)))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

/// None waits for long, and none fails but for a backup that somebody else was at.
fn check_ends(ended: &[(Ran, Duration)]) {
    let right = Regex::new(RIGHT_REASONS).unwrap();
    for (ran, took) in ended {
        assert!(*took < PATIENCE, "{took:?}: {ran:#?}");
        assert!([0, 1].contains(&ran.status), "{ran:#?}");
        for error in ran.errors() {
            assert!(right.is_match(error), "{error}\n{}", ran.line);
        }
    }
    let longest = ended.iter().map(|(_, took)| took).max();
    println!("{} programs, the longest took {longest:?}", ended.len());
}

/// What the programs of one kind printed.
fn printed<'a>(
    ended: &'a [(Ran, Duration)],
    program: &'a str,
) -> impl Iterator<Item = (&'a Ran, Value)> {
    let of_it = move |(ran, _): &&(Ran, _)| ran.line.split(' ').any(|word| word == program);
    let ran = ended.iter().filter(of_it).map(|(ran, _)| ran);
    ran.flat_map(|ran| ran.records().into_iter().map(move |it| (ran, it)))
}

#[test]
fn fifty_programs_at_once_lose_nothing() {
    fifty_at_once(1, 2);
}

#[test]
#[ignore = "a minute: make test-long"]
fn fifty_programs_at_once_twice_lose_nothing() {
    fifty_at_once(2, 1);
}

fn fifty_at_once(times: usize, part: usize) {
    let store = large(part as i64);
    let mut before: BTreeSet<_> = store
        .sandbox
        .records()
        .iter()
        .map(|it| name(it).to_owned())
        .collect();
    for round in 0..times {
        for file in [0, 1].map(|n| format!("near/in{round}-{n}-")) {
            store.sandbox.ok(&format!(
                "for k in 1 2 3; do tar czf {file}$k.tar.gz app; done"
            ));
        }
        let lines = crowd(round, part);
        assert_eq!(lines.len(), 50);
        let ended = run_at_once(&store, &lines);
        check_ends(&ended);
        let last = format!("bk-create --storage store --name last{round} app");
        before.insert(name(&store.sandbox.ok(&last).record()).to_owned());
        let after = store.check_tidy("fifty at once");

        let made = printed(&ended, "bk-create").chain(printed(&ended, "bk-adopt"));
        before.extend(made.map(|(_, it)| name(&it).to_owned()));
        for (ran, gone) in printed(&ended, "bk-rm").chain(printed(&ended, "bk-prune")) {
            assert!(
                before.remove(name(&gone)),
                "removed twice: {gone}\n{}",
                ran.line
            );
        }
        let names: BTreeSet<_> = after.keys().cloned().collect();
        let differ: Vec<_> = names.symmetric_difference(&before).collect();
        assert!(differ.is_empty(), "{differ:?} in round {round}");
        assert!(after.values().all(is_completed));
        for (ran, moved) in printed(&ended, "bk-mv") {
            let now = after.get(name(&moved)).map(|it| &it["backup_path"]);
            assert!(
                now.is_none_or(|it| *it == moved["backup_path"]),
                "{moved}\n{}",
                ran.line
            );
        }
        for (ran, set) in printed(&ended, "bk-set") {
            let mark = ran.line.split_once("-m ").unwrap().1.trim_end_matches("=1");
            let now = after.get(name(&set));
            assert!(
                now.is_none_or(|it| it["backup_metadata"][mark] == 1),
                "{set}\n{}",
                ran.line
            );
        }
        let removed = printed(&ended, "bk-rm").count() + printed(&ended, "bk-prune").count();
        let moved = printed(&ended, "bk-mv").count();
        println!("{removed} removed, {moved} moved, {} left", after.len());
        assert!(removed * part > 100 && moved > 0, "{removed} {moved}");
    }
}

/// Numbers that look as if drawn, the same in each run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Kill, list, update, remove, over and over.
fn rounds(count: usize) {
    let store = Store::new("true");
    let sandbox = &store.sandbox;
    let mut draws = Draws(count as u64);
    let mut alive = store.check_tidy("at the start");
    let mut kills = 0;
    for round in 0..count {
        let names: Vec<_> = alive
            .values()
            .filter(|it| is_completed(it))
            .map(name)
            .collect();
        let drawn = names[draws.below(names.len() as u64) as usize];
        let doomed = match draws.below(6) {
            0 => format!("exec bk-rm {drawn}"),
            1 => "exec bk-prune --max-count 3".to_owned(),
            2 => format!("exec bk-mv {drawn} near"),
            3 => format!("exec bk-mv {drawn} store"),
            4 => format!("exec bk-set -d r{round} {drawn}"),
            _ => format!("exec bk-create --storage store --name k{round} app"),
        };
        let mut child = sandbox.start(&doomed);
        sleep(Duration::from_millis(draws.below(250)));
        child.kill().unwrap();
        let killed = Ran::new(&doomed, child.wait_with_output().unwrap());
        kills += usize::from(killed.status == 137);

        let listed = sandbox.records();
        let last = listed.iter().rfind(|it| is_completed(it)).unwrap();
        sandbox.ok(&format!("bk-set -d 'round {round}' {}", name(last)));
        let after = store.check_tidy(&format!("{killed:#?}"));
        check_round(&alive, &after, &killed);
        alive = after;
        if alive.len() > 5 {
            let oldest = alive.values().min_by_key(|it| it["id"].as_i64()).unwrap();
            sandbox.ok(&format!("bk-rm {}", name(oldest)));
        } else {
            sandbox.ok(&format!("bk-create --storage store --name n{round} app"));
        }
        alive = store.check_tidy(&format!("{killed:#?}"));
    }
    println!("{kills} of {count} were killed before their end");
    assert!(kills * 5 > count, "only {kills} were killed");
}

/// Only a removal takes backups away, and what it has printed is done.
fn check_round(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>, killed: &Ran) {
    let removes = killed.line.contains("bk-rm") || killed.line.contains("bk-prune");
    for (name, was) in before {
        let now = after.get(name);
        let is_same = now.is_some_and(|it| it["backup_hash"] == was["backup_hash"]);
        assert!(is_same || removes && now.is_none(), "{name}\n{killed:#?}");
    }
    for record in killed.records() {
        let now = after.get(name(&record));
        if removes {
            assert_eq!(now, None, "{killed:#?}");
        } else {
            let path = now.map(|it| &it["backup_path"]);
            assert_eq!(path, Some(&record["backup_path"]), "{killed:#?}");
        }
    }
}

#[test]
fn some_rounds_of_kill_list_update_remove_lose_nothing() {
    rounds(12);
}

#[test]
#[ignore = "minutes: make test-long"]
fn many_rounds_of_kill_list_update_remove_lose_nothing() {
    rounds(500);
}
