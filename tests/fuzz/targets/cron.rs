//! Text as a cron expression, with zones whose clocks change: what is due has come, and what comes
//! next comes later.
#![no_main]

use bk_jobs::schedule::Schedule;
use bk_jobs::timing::Timing;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;

const ZONES: [&str; 4] = [
    "UTC0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "<-12>12",
];

fuzz_target!(|data: &[u8]| {
    let Some((time, text)) = data.split_first_chunk::<5>() else {
        return;
    };
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let Ok(schedule) = Schedule::parse(text) else {
        return;
    };
    let secs = i64::from(u32::from_le_bytes([time[0], time[1], time[2], time[3]]));
    let now = Timestamp::from_second(secs).expect("a time before 2107");
    let zone = TimeZone::posix(ZONES[usize::from(time[4]) % ZONES.len()]).expect("a zone");
    if let Some(next) = schedule.next(now, &zone) {
        assert!(next > now, "{next} is not after {now}");
    }
    let timing = Timing {
        is_enabled: true,
        schedule,
        since: Some(now - SignedDuration::from_hours(30)),
    };
    if let Some(due) = timing.due(None, now, &zone) {
        assert!(due <= now, "{due} is after {now}");
        assert_eq!(timing.due(Some(now), now, &zone), None, "twice");
    }
});
