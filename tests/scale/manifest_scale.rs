//! Memory of bk-create and bk-adopt for many entries, each of which the manifest tells too. How long it takes
//! is in the benchmark.

use crate::support::Sandbox;

const PEAK: &str = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)";

fn peak_mib(sandbox: &Sandbox, line: &str) -> u64 {
    let ran = sandbox.ok(&format!("python3 -c '{PEAK}' {line}"));
    ran.stdout.trim().parse().unwrap()
}

/// Makes so many files, a backup of them, the same again, and takes its archive into a catalog anew.
fn check_memory(count: usize, mib_max: u64) {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!(
        "mkdir d && cd d && seq -f %07.0f 1 {count} | split -l 5000 - ../names. && for part in ../names.*; do
         mkdir ${{part##*.}} && (cd ${{part##*.}} && xargs touch <../$part); done"
    ));
    for line in ["bk-create --name a d", "bk-create --name b d"] {
        let mib = peak_mib(&sandbox, line);
        assert!(mib <= mib_max, "{line}: {mib} MiB");
    }
    let rows = sandbox.ok("bk-ls --files --json b | wc -l").stdout;
    assert!(rows.trim().parse::<usize>().unwrap() > count);
    sandbox.ok("mv home/archives . && rm -r home");
    let mib = peak_mib(&sandbox, "bk-adopt archives/b.tar.gz");
    assert!(mib <= mib_max, "bk-adopt: {mib} MiB");
}

#[test]
fn many_entries_take_little_memory() {
    check_memory(20_000, 100);
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_million_entries_take_little_memory() {
    check_memory(1_000_000, 300);
}
