//! Damaged archives, one after the other: cut at every block and flipped at many places. bk-verify finds them all.
//!
//! Damage is also put where the record agrees with it, so that the deep check alone can find it.

use std::fs;

use crate::support::{Sandbox, has};
use duckdb::Connection;
use serde_json::Value;

/// Several members, a large file that spans some, holes, long names; small when compressed.
const SOURCE: &str = r#"
set -e
mkdir src; cd src
for n in $(seq 40); do seq $n 3000 > small$n; done
seq 300000 > large
truncate -s 3000000 holes; printf data | dd of=holes bs=1 seek=1048576 conv=notrunc status=none
long=$(printf 'n%.0s' {1..250}); mkdir -p $long/$long; echo deep > $long/$long/$long
ln -s large link; ln large hard; mkfifo pipe; mkdir empty
"#;

/// So many damaged archives are in the store at once.
const BATCH: usize = 200;

struct Store(Sandbox);

impl Store {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.ok(SOURCE);
        sandbox.ok("bk-create --name own src 2>/dev/null");
        Self(sandbox)
    }

    fn sql(&self, sql: &str) {
        let catalog = Connection::open(self.0.home().join("catalog.duckdb")).unwrap();
        catalog.execute_batch(sql).unwrap();
    }

    /// The archive that a command line writes to `made`, and the number of its files.
    fn made_by(&self, line: &str) -> (Vec<u8>, u64) {
        self.0.ok(line);
        let listed = self.0.ok("tar -tf made | grep -vc '/$'").stdout;
        let bytes = fs::read(self.0.path("made")).unwrap();
        (bytes, listed.trim().parse().unwrap())
    }

    /// Puts archives into the store, each with a record that agrees with it, or with `whole`.
    fn fill(&self, archives: &[Vec<u8>], file_count: u64, whole: Option<&[u8]>) {
        let dir = self.0.path("store");
        fs::create_dir_all(&dir).unwrap();
        // All but the marker of the storage.
        for file in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if file.file_name().to_string_lossy().starts_with('v') {
                fs::remove_file(file.path()).unwrap();
            }
        }
        for (number, bytes) in archives.iter().enumerate() {
            fs::write(dir.join(format!("v{number:05}.tar.gz")), bytes).unwrap();
        }
        let dir = dir.display();
        let mut told = format!("'{dir}/v*.tar.gz'");
        if let Some(whole) = whole {
            fs::write(self.0.path("whole"), whole).unwrap();
            told = format!("'{}'", self.0.path("whole").display());
        }
        self.sql("DELETE FROM backup_records WHERE backup_name LIKE 'v%'");
        self.sql(&format!(
            "INSERT INTO backup_records SELECT nextval('backup_id'), name, backup_type, status, source_version,
                '{dir}/' || name || '.tar.gz', told.size, {file_count}, compression_type, told.hash, description,
                '{{}}', protected, created_at, expires_at
             FROM backup_records,
                (SELECT regexp_extract(file, 'v[0-9]{{5}}') AS name FROM glob('{dir}/v*.tar.gz') it(file)) files
                JOIN (SELECT filename, size, sha256(content) AS hash FROM read_blob({told})) told
                ON {} WHERE backup_name = 'own'",
            if whole.is_some() { "true" } else { "contains(told.filename, files.name)" }
        ));
    }

    /// The verdict on each archive of the store.
    fn verdicts(&self, flags: &str) -> Vec<Value> {
        let ran = self.0.run(&format!(
            "bk-ls --name 'v*' --sort name | bk-verify {flags}"
        ));
        assert!(ran.status < 2, "{ran:#?}");
        let records = ran.records().into_iter();
        records.map(|record| record["verify"].clone()).collect()
    }

    /// Those of the damaged archives that are taken for whole, though the record agrees with
    /// each of them.
    fn unfound(&self, damaged: &[Vec<u8>], file_count: u64) -> Vec<usize> {
        let mut unfound = Vec::new();
        for (at, batch) in damaged.chunks(BATCH).enumerate() {
            self.fill(batch, file_count, None);
            let verdicts = self.verdicts("--deep");
            assert_eq!(verdicts.len(), batch.len());
            let ok = verdicts
                .iter()
                .enumerate()
                .filter(|(_, it)| it["ok"] == true);
            unfound.extend(ok.map(|(number, _)| at * BATCH + number));
        }
        unfound
    }
}

/// Every archive of the set: its name, its bytes and the number of its files.
fn archives(store: &Store) -> Vec<(&'static str, Vec<u8>, u64)> {
    let mut lines = vec![
        ("own", "cp home/archives/own.tar.gz made"),
        ("gnu", "tar -czf made src"),
        (
            "old gnu",
            "tar --format=oldgnu -S -cf - src | gzip -9 >made",
        ),
        (
            "own zstd",
            "bk-create --compression zstd --name zstd src 2>/dev/null; cp home/archives/zstd.tar.zst made",
        ),
        (
            "two members",
            "tar --format=pax -S -cf tar src; { head -c 1000000 tar | gzip; tail -c +1000001 tar | gzip; } >made",
        ),
    ];
    if has("pigz") {
        lines.push(("pigz", "tar -cf - src | pigz -p 4 -b 128 >made"));
    }
    if has("zstd") {
        lines.push(("zstd", "tar -cf - src | zstd -q >made"));
        lines.push((
            "zstd frames",
            "tar -cf tar src; split -b 300K --filter='zstd -q' tar >made",
        ));
    }
    if has("bsdtar") {
        lines.push(("bsdtar", "bsdtar -czf made src"));
    }
    let make = |(name, line)| {
        let (bytes, file_count) = store.made_by(line);
        (name, bytes, file_count)
    };
    lines.into_iter().map(make).collect()
}

/// Numbers that look random and are the same in every run (Knuth's MMIX).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

/// Flips bits of one byte each; `masks` says which.
fn flipped(
    bytes: &[u8],
    count: usize,
    mut mask: impl FnMut(&mut Chance) -> u8,
) -> (Vec<usize>, Vec<Vec<u8>>) {
    let mut chance = Chance(20261124);
    // The first and the last bytes too: headers and checksums are there.
    let edges = (0..32).chain(bytes.len() - 32..bytes.len());
    let mut offsets: Vec<_> = edges.take(count / 2).collect();
    while offsets.len() < count {
        offsets.push(chance.below(bytes.len()));
    }
    let flip = |at: &usize| {
        let mut damaged = bytes.to_vec();
        damaged[*at] ^= mask(&mut chance);
        damaged
    };
    let all = offsets.iter().map(flip).collect();
    (offsets, all)
}

/// Whether gzip (or zstd) and tar find nothing wrong either, and the content is the same.
fn is_harmless(store: &Store, bytes: &[u8], damaged: &[u8]) -> bool {
    fs::write(store.0.path("one.gz"), bytes).unwrap();
    fs::write(store.0.path("other.gz"), damaged).unwrap();
    let is_gzip = bytes.starts_with(b"\x1f\x8b");
    let tool = if is_gzip { "gzip" } else { "zstd -q" };
    let line = format!(
        "{tool} -t <other.gz && tar -tf other.gz >/dev/null && cmp <({tool} -dc <one.gz) <({tool} -dc <other.gz)"
    );
    store.0.run(&line).status == 0
}

/// Bytes that gzip itself ignores in the headers of other programs' members: MTIME, XFL and OS.
fn is_ignored(bytes: &[u8], at: usize) -> bool {
    let begins = |begin: &usize| bytes[*begin..].starts_with(b"\x1f\x8b\x08\0");
    (at.saturating_sub(9)..=at.saturating_sub(4)).any(|begin| begins(&begin))
}

fn check_set(flips: usize, block_step: usize) {
    let store = Store::new();
    for (name, bytes, file_count) in archives(&store) {
        assert!(bytes.len() > 50_000, "{name}: {}", bytes.len());
        store.fill(std::slice::from_ref(&bytes), file_count, None);
        for flags in ["", "--quick", "--deep"] {
            let verdict = &store.verdicts(flags)[0];
            assert_eq!(verdict["ok"], true, "{name} {flags}: {verdict}");
        }
        let ends = (0..bytes.len()).step_by(512 * block_step);
        let cut: Vec<_> = ends.map(|end| bytes[..end].to_vec()).collect();
        assert_eq!(store.unfound(&cut, file_count), [0; 0], "{name} is cut");

        let (offsets, damaged) = flipped(&bytes, flips, |_| 0xff);
        for at in store.unfound(&damaged, file_count) {
            let place = offsets[at];
            let is_known = !name.starts_with("own") && is_ignored(&bytes, place);
            // Data that repeats itself can be told in several ways.
            assert!(
                is_known || is_harmless(&store, &bytes, &damaged[at]),
                "{name}: {place}"
            );
        }
        // The bits between the end of the deflated data and the next byte mean nothing.
        let (offsets, single) = flipped(&bytes, flips, |chance| 1 << chance.below(8));
        for at in store.unfound(&single, file_count) {
            assert!(
                is_harmless(&store, &bytes, &single[at]),
                "{name}: {}",
                offsets[at]
            );
        }

        let all: Vec<_> = cut.into_iter().chain(damaged).chain(single).collect();
        for batch in all.chunks(BATCH) {
            store.fill(batch, file_count, Some(&bytes));
            let verdicts = store.verdicts("");
            assert_eq!(verdicts.len(), batch.len());
            assert!(
                verdicts.iter().all(|it| it["ok"] == false),
                "{name} by its hash"
            );
        }
    }
}

#[test]
fn a_sample_of_all_damage_is_found() {
    check_set(2, 1536);
}

#[test]
#[ignore = "minutes: make test-long"]
fn damage_of_all_kinds_is_found() {
    check_set(250, 4);
}

/// The members of an own archive: where each begins.
fn members(bytes: &[u8]) -> Vec<usize> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        all.push(at);
        at += u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
    }
    all
}

#[test]
fn every_byte_of_every_own_header_and_trailer_counts() {
    let store = Store::new();
    let bytes = fs::read(store.0.archive("own")).unwrap();
    let mut damaged = Vec::new();
    for begin in members(&bytes) {
        let ends = begin.saturating_sub(8)..begin + 20;
        for at in ends {
            let mut copy = bytes.clone();
            copy[at] ^= 0x10;
            damaged.push(copy);
        }
    }
    let file_count = store.0.records()[0]["file_count"].as_u64().unwrap();
    assert!(damaged.len() > 100);
    assert_eq!(store.unfound(&damaged, file_count), [0; 0]);
}

#[test]
fn bytes_hidden_between_the_data_and_the_trailer_of_a_member_are_found() {
    let store = Store::new();
    let bytes = fs::read(store.0.archive("own")).unwrap();
    let file_count = store.0.records()[0]["file_count"].as_u64().unwrap();
    let begins = members(&bytes);
    let (begin, end) = (begins[1], begins[2]);
    let with = |hidden: &[u8]| {
        let mut copy = bytes.clone();
        copy.splice(end - 8..end - 8, hidden.iter().copied());
        let length = (end - begin + hidden.len()) as u32;
        copy[begin + 16..begin + 20].copy_from_slice(&length.to_le_bytes());
        copy
    };
    let trailer = bytes[end - 8..end].to_vec();
    let again = [&trailer[..], b"hidden", &trailer].concat();
    let damaged = [with(b"\0"), with(b"hidden"), with(&trailer), with(&again)];
    assert_eq!(store.unfound(&damaged, file_count), [0; 0]);
    assert_eq!(store.unfound(&[with(b"")], file_count), [0]);
}

#[test]
fn every_corrupt_member_is_told_with_what_it_hits() {
    let store = Store::new();
    let mut bytes = fs::read(store.0.archive("own")).unwrap();
    let begins = members(&bytes);
    let damaged: Vec<_> = [1, 3, begins.len() - 2].map(|at| begins[at]).to_vec();
    for (at, begin) in damaged.iter().enumerate() {
        // A bit of the data, and of a checksum.
        let end = begins[begins.iter().position(|it| it == begin).unwrap() + 1];
        let place = if at == 2 { end - 8 } else { (begin + end) / 2 };
        bytes[place] ^= 1;
    }
    store.fill(&[bytes], 1, None);
    let verdict = store.verdicts("--deep").remove(0);
    let problems = verdict["problems"].as_array().unwrap();
    let offsets: Vec<_> = problems
        .iter()
        .map(|it| it["offset"].as_u64().unwrap() as usize)
        .collect();
    assert_eq!(offsets, damaged, "{verdict:#}");
    let codes = problems.iter().all(|it| it["code"] == "corrupt-member");
    // Of the first one nothing can be saved.
    let hits: Vec<_> = problems
        .iter()
        .map(|it| it["entry_count"].as_u64().unwrap())
        .collect();
    assert!(
        codes && hits[0] == 0 && hits[1] == 1 && hits[2] > 1,
        "{verdict:#}"
    );
    assert_eq!(problems[1]["entries"][0], "src/hard", "{verdict:#}");
}
