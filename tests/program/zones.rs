//! The local time zone: whatever the C library takes, and an error where that would take UTC
//! without a word.

use crate::support::{Sandbox, has};

const PROGRAMS: [&str; 13] = [
    "bk-adopt",
    "bk-auto",
    "bk-create",
    "bk-df",
    "bk-log",
    "bk-ls",
    "bk-mv",
    "bk-pick",
    "bk-prune",
    "bk-restore",
    "bk-rm",
    "bk-set",
    "bk-verify",
];

/// When a job that runs each day at three in the summer of 2026 or later is due next.
fn due(sandbox: &Sandbox, zone: &str) -> String {
    let line = format!("{zone} bk-auto --set -s '0 3 1 7 *' --enable -- app");
    let next = sandbox.ok(&line).record()["next_due"].clone();
    next.as_str().unwrap()[5..].to_owned()
}

#[test]
fn an_unknown_zone_is_an_error_of_every_program() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app");
    for program in PROGRAMS {
        let reason = "unknown time zone 'Nowhere/Land' in TZ: install tzdata, or use TZ=UTC";
        sandbox
            .run(&format!("TZ=Nowhere/Land {program} </dev/null"))
            .fails(2, &format!("{program}: {reason}\n"));
        // To ask for help, nobody needs to know the time.
        sandbox.ok(&format!("TZ=Nowhere/Land {program} --help"));
    }
    for (zone, shown) in [
        ("$'x\\e[2J'", "x\\u{1b}[2J"),
        ("$'\\xff'", "\u{fffd}"),
        ("/nowhere", "/nowhere"),
        ("CET-1CEST,nonsense", "CET-1CEST,nonsense"),
    ] {
        let reason =
            format!("bk-ls: unknown time zone '{shown}' in TZ: install tzdata, or use TZ=UTC\n");
        sandbox.run(&format!("TZ={zone} bk-ls")).fails(2, &reason);
    }
}

#[test]
fn a_zone_is_what_the_c_library_takes_for_one() {
    let sandbox = Sandbox::with_app();
    for (zone, expected) in [
        ("TZ=CET-1CEST,M3.5.0,M10.5.0/3", "07-01T01:00:00Z"),
        ("TZ=CET-1CEST", "07-01T01:00:00Z"),
        ("TZ=EST5EDT", "07-01T07:00:00Z"),
        ("TZ='<+0330>-3:30'", "06-30T23:30:00Z"),
        ("TZ=", "07-01T03:00:00Z"),
        ("TZ=:", "07-01T03:00:00Z"),
        ("TZ=UTC", "07-01T03:00:00Z"),
    ] {
        assert_eq!(due(&sandbox, zone), expected, "{zone}");
    }
    if !std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
        println!("skipped: no time zones are installed here");
        return;
    }
    for zone in [
        "Europe/Berlin",
        ":Europe/Berlin",
        "/usr/share/zoneinfo/Europe/Berlin",
    ] {
        assert_eq!(
            due(&sandbox, &format!("TZ={zone}")),
            "07-01T01:00:00Z",
            "{zone}"
        );
    }
}

#[test]
fn a_machine_without_zones_knows_rules_and_utc() {
    let sandbox = Sandbox::with_app();
    let hidden = "unshare -m sh -c 'mount -t tmpfs none /usr/share/zoneinfo && exec bash line'";
    sandbox.write("line", "true");
    if !has("unshare") || sandbox.run(hidden).status != 0 {
        println!("skipped: unshare may not make a mount namespace here");
        return;
    }
    let set = |zone: &str| {
        sandbox.write(
            "line",
            &format!("{zone} bk-auto --set -s '0 3 1 7 *' --enable -- app"),
        );
        sandbox.run(hidden)
    };
    set("TZ=Europe/Berlin").fails(
        2,
        "bk-auto: unknown time zone 'Europe/Berlin' in TZ: install tzdata, or use TZ=UTC\n",
    );
    assert!(!sandbox.home().exists());
    for (zone, expected) in [
        ("TZ=UTC", "T03:00:00Z"),
        ("TZ=Etc/UTC", "T03:00:00Z"),
        ("TZ=CET-1CEST,M3.5.0,M10.5.0/3", "T01:00:00Z"),
    ] {
        let ran = set(zone);
        let next = ran.record()["next_due"].clone();
        assert!(
            next.as_str().unwrap().ends_with(expected),
            "{zone} {ran:#?}"
        );
    }
    // Without a link to a zone it is UTC, as the C library has it; with a link that leads nowhere
    // it is a mistake.
    for (localtime, stderr) in [
        ("rm -f etc/localtime", None),
        ("ln -sf /usr/share/zoneinfo/Etc/UTC etc/localtime", None),
        (
            "ln -sf /usr/share/zoneinfo/Asia/Tokyo etc/localtime",
            Some("unknown time zone '/usr/share/zoneinfo/Asia/Tokyo' in /etc/localtime"),
        ),
    ] {
        sandbox.ok("rm -rf etc; cp -a /etc etc 2>/dev/null; true");
        sandbox.ok(localtime);
        sandbox.write(
            "line",
            "mount --bind etc /etc && exec env -u TZ bk-auto --list",
        );
        let ran = sandbox.run(hidden);
        match stderr {
            None => assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}"),
            Some(text) => assert!(ran.status == 2 && ran.stderr.contains(text), "{ran:#?}"),
        }
    }
}
