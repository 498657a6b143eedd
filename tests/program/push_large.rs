//! A large archive, and a server that counts: what bk-push holds in memory, and what one small file of it costs.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::support::proxy::Proxy;
use crate::support::seaweed::{ADMIN, Seaweed};
use crate::support::{Ran, Sandbox};

/// What parts may take, and what each of the few threads has of its own.
const PARTS_MAX_KIB: u64 = (64 + 16) << 10;

/// Runs a command line, and returns the most memory that it had.
fn peak_kib(sandbox: &Sandbox, line: &str) -> u64 {
    let child = sandbox.start(&format!("{} exec {line}", ADMIN.environment()));
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    // One that has ended has none.
    while let Some(now) = fs::read_to_string(&status)
        .ok()
        .as_deref()
        .and_then(peak_of)
    {
        peak = now;
        sleep(Duration::from_millis(20));
    }
    let ran = Ran::new(line, child.wait_with_output().unwrap());
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    peak
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
#[ignore = "a minute: make test-long"]
fn an_archive_of_a_gigabyte_goes_in_bounded_memory_and_a_small_file_of_it_costs_a_hundredth() {
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("bucket", false);
    let line = Proxy::to(&server.endpoint());
    let sandbox = Sandbox::with_app();
    sandbox.ok(&format!(
        "mkdir tree; head -c 1G /dev/urandom >tree/big; cp -r app tree; export BK_HOST=web
         bk-create --level 1 --name small app; bk-create --level 1 --name big tree; rm tree/big
         bk-push --set --endpoint {} s3 s3://bucket/prefix",
        line.endpoint()
    ));
    let small = peak_kib(&sandbox, "bk-push s3 small");
    let big = peak_kib(&sandbox, "bk-push s3 big");
    println!("{small} KiB for a small archive, {big} KiB for a large one");
    assert!(big < small + PARTS_MAX_KIB, "{small} {big}");

    let archive_bytes = fs::metadata(sandbox.archive("big")).unwrap().len();
    let before = line.told_bytes();
    let ran = sandbox.run(&format!(
        "{} bk-pull --path tree/app/config.toml -C out s3 big && diff app/config.toml out/tree/app/config.toml",
        ADMIN.environment()
    ));
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    let told_bytes = line.told_bytes() - before;
    println!("{told_bytes} of {archive_bytes} bytes");
    assert!(told_bytes <= archive_bytes / 100, "{told_bytes} {ran:#?}");
}
