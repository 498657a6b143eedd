//! Crashes and failing system calls: nothing acknowledged is lost, and the next program tidies.
//!
//! strace kills bk-create, or lets a call of it fail, at one call after the other: each stands
//! for another state of the home and of the archives. After each the same promises are checked,
//! with no more than what a user has: bk-ls, bk-create, sha256sum, gzip.

use std::fs;

use serde_json::Value;

use crate::support::{KILLED, Ran, Sandbox, can_trace, check_manifests_of, files_in, strace};

/// The calls that change what is on the disk, or stand between two that do.
const CALLS: &str = "openat mkdir flock write pwrite64 ftruncate fsync fdatasync \
                     rename renameat2 link unlink unlinkat exit_group";
/// Calls, and an error of each.
const FAILURES: &str = "openat:ENOSPC mkdir:ENOSPC flock:ENOLCK write:ENOSPC pwrite64:ENOSPC \
                        pwrite64:EIO ftruncate:EIO fsync:EIO fdatasync:EIO rename:EIO \
                        renameat2:ENOSPC renameat2:EINVAL";
/// What these calls are made on; another call, as of a library or a source, changes nothing.
const FILES: &str = "home home/catalog.lock home/catalog.duckdb home/catalog.duckdb.wal \
                     home/catalog.duckdb.new home/catalog.duckdb.new.wal store \
                     store/x.tar.gz store/x.tar.gz.partial store/dead.tar.gz.partial";
/// What bk-create is killed at, over and over. The archives are on their way to `store/`.
const CREATE: &str = "bk-create --storage store --name x app";

/// How the home is before the program starts that is killed.
struct Start {
    sandbox: Sandbox,
    has_catalog: bool,
}

impl Start {
    /// `prepared` is a command line that is run once; each kill starts from what it left.
    fn new(prepared: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("app/config.toml", "port = 8080\n");
        sandbox.write("app/data/orders.db", &"order\n".repeat(30_000));
        sandbox.ok("mkdir home store");
        sandbox.ok(prepared);
        sandbox.ok("mkdir start && cp -a home store start/");
        let has_catalog = sandbox.path("start/home/catalog.duckdb").exists();
        Self {
            sandbox,
            has_catalog,
        }
    }

    fn with_catalog() -> Self {
        Self::new("bk-create --storage store --name first app")
    }

    /// A catalog in which a creation died that somebody has to tidy up after.
    fn after_a_crash() -> Self {
        Self::new(
            "bk-create --storage store --name first app
             strace -o /dev/null -e trace=renameat2 -e inject=renameat2:signal=SIGKILL \
                 bk-create --storage store --name dead app
             test $? = 137 -a -s store/dead.tar.gz.partial",
        )
    }

    /// Puts the home back as it was, and runs [`CREATE`] with a fault in it.
    fn run(&self, call: &str, fault: &str) -> Ran {
        let dir = self.sandbox.path("");
        let path = |file| format!("-P {}{file} ", dir.display());
        // exit_group has no path that it could be told by.
        let paths = match call {
            "exit_group" => String::new(),
            _ => FILES.split(' ').map(path).collect(),
        };
        self.sandbox.run(&format!(
            "rm -rf home store && cp -a start/. . &&
             exec {} -o /dev/null {paths} -e trace={call},renameat2 -e inject={call}:{fault} {CREATE}",
            strace(fault)
        ))
    }

    /// Kills it before each call, or before every `step`th, until it comes to its end.
    fn kill_at_each(&self, step: usize) {
        self.kill_with("", step, |end| {
            assert_eq!((end.status, end.stderr.as_str()), (0, ""), "{end:#?}");
        });
    }

    /// The same to one that fails by itself, as its archive does not get its name.
    fn kill_at_each_of_a_failure(&self, step: usize) {
        let fault = " -e inject=renameat2:error=EIO";
        self.kill_with(fault, step, |end| {
            assert_eq!(end.status, 1, "{end:#?}");
            self.check_failure(end);
        });
    }

    fn kill_with(&self, fault: &str, step: usize, check_end: impl Fn(&Ran)) {
        let mut kills = 0;
        let calls = CALLS.split(' ').filter(|call| !fault.contains(call));
        for call in calls {
            for when in (1..).step_by(step) {
                let ran = self.run(call, &format!("signal=SIGKILL:when={when}{fault}"));
                if ran.status != KILLED {
                    check_end(&ran);
                    break;
                }
                kills += 1;
                self.check(&ran);
            }
        }
        println!("killed {kills} times");
        assert!(kills * step > 40, "only {kills} kills");
    }

    /// Lets each call fail, or every `step`th, either that one alone or all from there on.
    fn fail_at_each(&self, failures: &str, rest: &str, step: usize) {
        let mut count = 0;
        for (call, error) in failures.split(' ').filter_map(|it| it.split_once(':')) {
            for when in (1..).step_by(step) {
                let fault = format!("error={error}:when={when}{rest}");
                let mut ran = self.run(call, &fault);
                self.check_failure(&ran);
                if ran.status == 0 {
                    if self.is_past(call, when) {
                        break;
                    }
                    // That was another end: this one is to be looked at.
                    ran = self.run(call, &fault);
                }
                self.check(&ran);
                count += 1;
            }
        }
        println!("failed {count} calls");
        assert!(count * step >= 16, "only {count} failures");
    }

    /// Whether the program has no call of that number, so that nothing failed.
    fn is_past(&self, call: &str, when: usize) -> bool {
        self.run(call, &format!("signal=SIGKILL:when={when}"))
            .status
            == 0
    }

    /// What a program that lives on owes beside what [`Start::check`] asks.
    fn check_failure(&self, ran: &Ran) {
        let is_done = ran.status == 0;
        assert!(is_done || ran.status == 1, "{ran:#?}");
        assert_eq!(is_done, !ran.stdout.is_empty(), "{ran:#?}");
        // A marker that cannot be left costs no backup: the next session leaves it.
        let is_error = |line: &str| !line.contains(": warning: cannot mark the storage ");
        assert_eq!(is_done, !ran.stderr.lines().any(is_error), "{ran:#?}");
        for line in ran.stderr.lines() {
            assert!(line.starts_with("bk-create: "), "{ran:#?}");
        }
        let is_there = |file| self.sandbox.path(file).exists();
        assert!(!is_there("store/x.tar.gz.partial"), "{ran:#?}");
        // What is whole is kept, and then that is told.
        let is_told = ran.stderr.contains("its archive '") && ran.stderr.contains("' is whole");
        let is_kept = is_there("store/x.tar.gz");
        assert_eq!(is_kept, is_done || is_told, "{ran:#?}");
    }

    /// The promises after any end of [`CREATE`].
    fn check(&self, ended: &Ran) {
        let sandbox = &self.sandbox;
        let listed = sandbox.run("bk-ls --json");
        if self.has_catalog || sandbox.path("home/catalog.duckdb").exists() {
            assert_eq!(
                (listed.status, &*listed.stderr),
                (0, ""),
                "{ended:#?}{listed:#?}"
            );
        }
        if !ended.stdout.is_empty() {
            let record = ended.record();
            let same = |other: &Value| {
                ["id", "status", "backup_hash"].map(|key| record[key].clone())
                    == ["id", "status", "backup_hash"].map(|key| other[key].clone())
            };
            assert_eq!(record["status"], "completed", "{ended:#?}");
            assert!(listed.records().iter().any(same), "{ended:#?}{listed:#?}");
        }
        let next = sandbox.run("bk-create --storage store app");
        assert_eq!((next.status, &*next.stderr), (0, ""), "{ended:#?}{next:#?}");
        self.check_tidy(ended);
    }

    /// After the next program has written to the catalog.
    fn check_tidy(&self, ended: &Ran) {
        let records = self.sandbox.records();
        let ends = ["completed", "failed"].map(Into::into);
        for record in &records {
            assert!(ends.contains(&record["status"]), "{record}\n{ended:#?}");
            let is_first = record["backup_name"] == "first";
            assert!(!is_first || record["status"] == "completed", "{ended:#?}");
        }
        check_manifests_of(&self.sandbox, &records);
        for path in files_in(&self.sandbox.path("store")) {
            let is_recorded = |record: &Value| record["backup_path"] == *path.to_str().unwrap();
            let is_known = records.iter().any(is_recorded);
            assert!(is_known, "{} is nobody's\n{ended:#?}", path.display());
        }
        let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
        let sums: String = records
            .iter()
            .filter(|it| it["status"] == "completed")
            .map(|it| format!("{}  {}\n", text(it, "backup_hash"), text(it, "backup_path")))
            .collect();
        self.sandbox.write("sums", &sums);
        let whole = self
            .sandbox
            .run("sha256sum --check --quiet sums && gzip -t store/*");
        assert_eq!(
            (whole.status, &*whole.stderr),
            (0, ""),
            "{whole:#?}{ended:#?}"
        );
    }
}

/// The calls of a creation that makes its home and its storage directory.
struct Trace {
    text: String,
}

impl Trace {
    fn of_a_creation(sandbox: &Sandbox) -> Self {
        sandbox.ok(
            "strace -f --seccomp-bpf -y -o trace -e trace=mkdir,fsync,fdatasync,linkat,renameat2,write \
             bk-create --storage new/store --name x app | cat",
        );
        let dir = sandbox.path("").display().to_string();
        let text = fs::read_to_string(sandbox.path("trace")).unwrap();
        let text = text.replace(&dir, "");
        Self {
            text: text.replace(dir.trim_end_matches('/'), "."),
        }
    }

    /// The last line with all of these words.
    fn last(&self, words: &[&str]) -> Option<usize> {
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        let lines: Vec<_> = self.text.lines().collect();
        lines.into_iter().rposition(has_all)
    }
}

#[test]
fn a_kill_at_the_very_first_backup_loses_nothing() {
    if can_trace() {
        Start::new("true").kill_at_each(61);
    }
}

#[test]
fn a_kill_while_tidying_up_after_a_kill_loses_nothing() {
    if can_trace() {
        Start::after_a_crash().kill_at_each(61);
    }
}

#[test]
fn a_kill_while_a_failure_is_recorded_leaves_nothing() {
    if can_trace() {
        Start::with_catalog().kill_at_each_of_a_failure(61);
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_kill_at_every_other_call_loses_nothing() {
    if can_trace() {
        for start in [
            Start::new("true"),
            Start::with_catalog(),
            Start::after_a_crash(),
        ] {
            start.kill_at_each(2);
            start.kill_at_each_of_a_failure(2);
        }
    }
}

#[test]
fn a_call_that_fails_is_told_and_loses_nothing() {
    if can_trace() {
        Start::with_catalog().fail_at_each(FAILURES, "", 61);
    }
}

#[test]
fn a_disk_that_is_full_from_some_call_on_loses_nothing() {
    if can_trace() {
        Start::with_catalog().fail_at_each("write:ENOSPC pwrite64:ENOSPC", "+", 19);
    }
}

/// As on a network file system without a lock manager.
#[test]
fn storage_that_cannot_be_locked_is_told_and_nothing_is_left_there() {
    if can_trace() {
        let start = Start::with_catalog();
        let partial = start.sandbox.path("store/x.tar.gz.partial");
        let partial = partial.display();
        let strace = format!("strace -o /dev/null -P {partial}");
        let fault = "-e trace=flock -e inject=flock:error=ENOLCK";
        let ran = start.sandbox.run(&format!("{strace} {fault} {CREATE}"));
        let reason = format!("cannot make '{partial}': No locks available");
        ran.fails(1, &format!("bk-create: cannot create 'x': {reason}\n"));
        start.check_failure(&ran);
        start.check(&ran);
    }
}

/// The archive has its name by then, and the record says that it failed.
#[test]
fn an_archive_whose_directory_cannot_be_synced_is_not_left_behind() {
    if can_trace() {
        let start = Start::with_catalog();
        let dir = start.sandbox.path("store").display().to_string();
        // The first one is tried before the work.
        let fault = "-e trace=fsync -e inject=fsync:error=EIO:when=2";
        let strace = format!("strace -o /dev/null -P {dir} {fault}");
        let ran = start.sandbox.run(&format!("{strace} {CREATE}"));
        let reason = format!("cannot sync '{dir}': Input/output error");
        ran.fails(1, &format!("bk-create: cannot create 'x': {reason}\n"));
        start.check_failure(&ran);
        start.check(&ran);
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn every_third_call_may_fail_and_nothing_is_lost() {
    if can_trace() {
        for start in [
            Start::new("true"),
            Start::with_catalog(),
            Start::after_a_crash(),
        ] {
            start.fail_at_each(FAILURES, "", 3);
            start.fail_at_each(FAILURES, "+", 3);
        }
    }
}

/// After a loss of power only what was synced is there.
#[test]
fn what_is_printed_was_synced_before_in_the_order_of_writes() {
    if !can_trace() {
        return;
    }
    let trace = Trace::of_a_creation(&Sandbox::with_app());
    let last = |words: &[&str]| trace.last(words).expect(&trace.text);
    let order = [
        last(&["write(", "<new/store/x.tar.gz.partial>"]),
        last(&["fsync(", "<new/store/x.tar.gz.partial>"]),
        last(&["renameat2(", "\"new/store/x.tar.gz\""]),
        last(&["fsync(", "<new/store>"]),
        last(&["write(", "<home/catalog.duckdb.wal>"]),
        last(&["fsync(", "<home/catalog.duckdb.wal>"]),
        last(&["fsync(", "<home>"]),
        last(&["write(1<"]),
    ];
    assert!(order.is_sorted(), "{order:?} in\n{}", trace.text);
}

/// A directory that was made is there after a loss of power only once its parent was synced.
#[test]
fn directories_that_are_made_are_synced_in_their_parents() {
    if !can_trace() {
        return;
    }
    let trace = Trace::of_a_creation(&Sandbox::with_app());
    for (parent, made) in [(".", "home"), (".", "new"), ("new", "new/store")] {
        let made_at = trace.last(&["mkdir(", &format!("\"{made}\""), "= 0"]);
        assert!(made_at.is_some(), "{made}:\n{}", trace.text);
        let synced_at = trace.last(&["fsync(", &format!("<{parent}>")]);
        let printed_at = trace.last(&["write(1<"]);
        let order = [made_at, synced_at, printed_at];
        assert!(order.is_sorted(), "{made}: {order:?} in\n{}", trace.text);
    }
}

/// A marker without its id would make its storage another's.
#[test]
fn a_marker_is_synced_before_it_gets_its_name_and_after() {
    if !can_trace() {
        return;
    }
    let trace = Trace::of_a_creation(&Sandbox::with_app());
    let mut calls = trace.text.lines();
    for words in [
        ["fsync(", "<new/store/"],
        ["at", "new/store/.bk-storage\""],
        ["fsync(", "<new/store>"],
    ] {
        let is_it = |call: &str| words.iter().all(|word| call.contains(word));
        assert!(
            calls.any(is_it),
            "no {words:?} in its order in\n{}",
            trace.text
        );
    }
}
