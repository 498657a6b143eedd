//! bk-auto over nights in which the clock is set, on a machine that was off, and under another zone: each
//! job has its runs, and none twice. The clock of the programs is set by libfaketime; that of the machine
//! is left alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, lacks};
use serde_json::Value;

/// The library, where it is installed.
fn library() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib").into_iter().flatten();
    let places = dirs.map(|dir| dir.unwrap().path().join("faketime/libfaketime.so.1"));
    let found = places.into_iter().find(|place| place.exists());
    if found.is_none() {
        lacks("libfaketime is not installed");
    }
    found
}

struct Clock {
    sandbox: Sandbox,
    library: PathBuf,
}

impl Clock {
    fn new() -> Option<Self> {
        let library = library()?;
        let sandbox = Sandbox::with_app();
        Some(Self { sandbox, library })
    }

    /// Runs a command line at a time, in a zone; returns what bk-auto printed.
    fn at(&self, time: &str, zone: &str, line: &str) -> Vec<Value> {
        let secs = self.sandbox.ok(&format!("date -d '{time}' +%s")).stdout;
        let line = format!(
            "export TZ={zone} LD_PRELOAD={} FAKETIME_FMT=%s FAKETIME=@{} NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1; {line}",
            self.library.display(),
            secs.trim()
        );
        self.sandbox.ok(&line).records()
    }

    /// Starts bk-auto each half hour from one time on; tells when which jobs ran, as the clock on the wall
    /// shows it.
    fn each_half_hour(&self, begin: &str, zone: &str, count: u32) -> Vec<String> {
        let mut all = Vec::new();
        for number in 0..count {
            let time = format!("{begin} + {} minutes", 30 * number);
            for made in self.at(&time, zone, "bk-auto") {
                let shown = format!("TZ={zone} date -d '{time}' +%H:%M%:::z");
                let shown = self.sandbox.ok(&shown).stdout;
                all.push(format!(
                    "{} {}",
                    shown.trim(),
                    made["job"].as_str().unwrap()
                ));
            }
        }
        all
    }
}

const BERLIN: &str = "Europe/Berlin";

#[test]
fn in_the_nights_when_the_clock_is_set_each_job_has_its_runs() {
    let Some(clock) = Clock::new() else { return };
    let set = "bk-auto --set night -s '30 2 * * *' --enable -- app/log; \
               bk-auto --set half -s '*/30 2 * * *' --enable -- app/log";
    clock.at("2026-03-28 12:00 UTC", BERLIN, set);
    // 02:00 is followed by 03:00 there: the fixed time runs after the gap, the other one follows the clock.
    let spring = clock.each_half_hour("2026-03-29 00:01 UTC", BERLIN, 4);
    assert_eq!(spring, ["03:01+02 night"]);
    // 03:00 is followed by 02:00: the fixed time runs once, the other one each time.
    clock.at("2026-10-24 20:00 UTC", BERLIN, "bk-auto");
    let autumn = clock.each_half_hour("2026-10-24 23:31 UTC", BERLIN, 6);
    assert_eq!(
        autumn,
        [
            "02:01+02 half",
            "02:31+02 half",
            "02:31+02 night",
            "02:01+01 half",
            "02:31+01 half"
        ]
    );
}

#[test]
fn a_machine_that_was_off_makes_up_for_all_at_once_and_a_zone_may_change() {
    let Some(clock) = Clock::new() else { return };
    let set = "bk-auto --set a -s '0 3 * * *' --enable -- app/log";
    clock.at("2026-11-01 12:00 UTC", BERLIN, set);
    // Three nights are made up for by one run, and the ledger tells for which time.
    let made = clock.at("2026-11-05 08:00 UTC", BERLIN, "bk-auto; bk-auto");
    assert_eq!(made.len(), 1);
    let runs = clock.at("2026-11-05 08:01 UTC", BERLIN, "bk-log --event auto");
    assert_eq!(runs[0]["details"]["scheduled"], "2026-11-05T02:00:00Z");
    // Three o'clock comes later in New York, and does not come twice in Tokyo.
    let ran = |time: &str, zone: &str| clock.at(time, zone, "bk-auto").len();
    assert_eq!(ran("2026-11-06 02:01 UTC", "America/New_York"), 0);
    assert_eq!(ran("2026-11-06 08:01 UTC", "America/New_York"), 1);
    assert_eq!(ran("2026-11-06 08:02 UTC", "Asia/Tokyo"), 0);
    assert_eq!(ran("2026-11-06 17:59 UTC", "Asia/Tokyo"), 0);
    assert_eq!(ran("2026-11-06 18:01 UTC", "Asia/Tokyo"), 1);
}

/// A machine that sleeps: nothing runs, and the clock is hours later when it goes on.
#[test]
#[ignore = "waits for up to a minute"]
fn a_machine_that_slept_under_wait_runs_what_it_missed_once() {
    let Some(clock) = Clock::new() else { return };
    let sandbox = &clock.sandbox;
    let set = "bk-auto --set a -s '0 3 * * *' --enable -- app/log";
    clock.at("2026-11-01 12:00 UTC", BERLIN, set);
    let time = |time: &str| {
        let date = format!("date -d '{time}' +'%F %T' | tr -d '\\n' >time");
        sandbox.ok(&format!("TZ={BERLIN} {date}"));
    };
    time("2026-11-01 22:00 UTC");
    let child = sandbox.start(&format!(
        "export TZ={BERLIN} LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE=$PWD/time FAKETIME_NO_CACHE=1 NO_FAKE_STAT=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1; exec bk-auto --wait",
        clock.library.display()
    ));
    let count = || sandbox.records().len();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(count(), 0);
    sandbox.ok(&format!("kill -STOP {}", child.id()));
    time("2026-11-02 08:00 UTC");
    sandbox.ok(&format!("kill -CONT {}", child.id()));
    let began = Instant::now();
    while count() == 0 {
        assert!(began.elapsed() < Duration::from_secs(90), "it sleeps still");
        std::thread::sleep(Duration::from_millis(500));
    }
    // A round later it is done.
    std::thread::sleep(Duration::from_secs(62));
    sandbox.ok(&format!("kill -TERM {}", child.id()));
    let ran = Ran::new("bk-auto", child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.records().len(), count()), (143, 1, 1));
    let runs = clock.at("2026-11-02 08:05 UTC", BERLIN, "bk-log --event auto");
    assert_eq!(runs[0]["details"]["scheduled"], "2026-11-02T02:00:00Z");
}
