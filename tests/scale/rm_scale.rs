//! bk-rm of many backups, and with few files that it may open. The table of contents is rm.rs.

use crate::support::Sandbox;

/// A store of `count` backups, of which the first `real` have an archive; the others were lost.
fn store(count: usize, real: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("d/x", "x\n");
    sandbox.ok("bk-create --name seed d >/dev/null && bk-rm seed >/dev/null");
    sandbox.sql(&format!(
        "INSERT INTO backup_records SELECT id, 'b' || id, 'automatic', 'completed', NULL,
             '{}/b' || id || '.tar.gz', 5, 1, 'gzip', sha256(id::VARCHAR), NULL,
             '{{\"sources\":[\"/srv/data\"],\"host\":\"test\",\"content_bytes\":' || id || '}}', false,
             TIMESTAMP '2020-01-01' + id * INTERVAL 20 MINUTE, NULL
         FROM (SELECT nextval('backup_id') AS id FROM range({count}))",
        sandbox.home().join("archives").display()
    ));
    // The first id is 2: 1 was the seed's.
    sandbox.ok(&format!(
        "cd home/archives && seq -f b%.0f.tar.gz 2 {} | while read -r name; do echo file >$name; done",
        real + 1
    ));
    sandbox
}

/// Removes all.
fn remove_all(sandbox: &Sandbox, count: usize, real: usize, limits: &str) {
    let ran = sandbox.ok(&format!(
        "set -o pipefail; {limits} bk-ls --json | bk-rm >removed"
    ));
    assert_eq!(ran.stderr, "");
    let lines = sandbox.ok("wc -l <removed; grep -c '\"freed\":5' removed; true");
    assert_eq!(lines.stdout, format!("{count}\n{real}\n"));
    let left = sandbox.ok("bk-ls --json | wc -l; ls home/archives | wc -l");
    assert_eq!(left.stdout, "0\n0\n");
    let ledger = sandbox.ledger();
    let removed = ledger.iter().filter(|it| it.ends_with(" remove ok"));
    assert_eq!(removed.count(), count + 1);
}

#[test]
fn thousands_of_backups_are_removed_at_once() {
    let sandbox = store(6000, 1000);
    remove_all(&sandbox, 6000, 1000, "");
}

#[test]
fn few_open_files_are_enough() {
    let sandbox = store(400, 300);
    remove_all(&sandbox, 400, 300, "ulimit -n 64;");
}

/// `bk-ls | bk-rm` of a hundred thousand ends within a minute.
#[test]
#[ignore = "long"]
fn a_hundred_thousand_backups_are_removed_within_a_minute() {
    let sandbox = store(100_000, 5000);
    remove_all(&sandbox, 100_000, 5000, "");
}
