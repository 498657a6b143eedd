//! Storage that shares blocks, as XFS and Btrfs do: an archive takes no space for what it has of its
//! parent, and is the plain archive all the same.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::support::changes::noise;
use crate::support::compared::rest_of;
use crate::support::mounts::{Mount, image};
use crate::support::{Sandbox, has};
use serde_json::Value;

/// What changed so shortly before a backup is read again by the next.
const UNSURE: Duration = Duration::from_millis(2100);
const LARGE_BYTES: usize = 12_000_000;

const PYTHON: &str = "
import sys, tarfile
archive = tarfile.open(sys.argv[1], 'r:gz')
if hasattr(tarfile, 'fully_trusted_filter'):
    archive.extraction_filter = tarfile.fully_trusted_filter
archive.extractall('out')
";

/// A tree, and storage of that kind at `disk/store`. The first one's content is old enough to be taken
/// over.
struct Shared {
    _disk: Mount,
    sandbox: Sandbox,
    compression: &'static str,
}

impl Shared {
    fn new(mkfs: &str, compression: &'static str) -> Option<Self> {
        let sandbox = Sandbox::new();
        let disk = image(&sandbox, mkfs, "400M", "disk")?;
        for number in 0..400 {
            let dir = sandbox.path(&format!("tree/d{}", number % 7));
            fs::create_dir_all(&dir).unwrap();
            let bytes = noise(number, number * 7919 % 60_000);
            fs::write(dir.join(format!("f{number}")), bytes).unwrap();
        }
        fs::write(sandbox.path("tree/d3/large"), noise(1, LARGE_BYTES)).unwrap();
        sandbox.write("read.py", PYTHON);
        sleep(UNSURE);
        Some(Self {
            _disk: disk,
            sandbox,
            compression,
        })
    }

    fn create(&self, name: &str, flags: &str) -> Value {
        let (storage, compression) = ("disk/store", self.compression);
        self.create_in(
            storage,
            name,
            &format!("--compression {compression} {flags}"),
        )
    }

    fn create_in(&self, storage: &str, name: &str, flags: &str) -> Value {
        let line = format!("bk-create --storage {storage} --name {name} {flags} tree");
        let ran = self.sandbox.ok(&line);
        assert_eq!(ran.stderr, "");
        ran.record()
    }

    fn free_bytes(&self) -> u64 {
        self.sandbox.ok("sync -f disk; sync -f disk");
        let free = self.sandbox.ok("stat -f -c '%f %S' disk").stdout;
        let numbers = free.trim().split(' ').map(|it| it.parse::<u64>().unwrap());
        numbers.product()
    }

    /// What making a backup costs.
    fn cost(&self, name: &str, flags: &str) -> (Value, u64) {
        let before = self.free_bytes();
        let record = self.create(name, flags);
        (record, before.saturating_sub(self.free_bytes()))
    }

    /// The same archive is made without a parent, in the same place.
    fn check_same(&self, record: &Value, flags: &str) {
        let storage = path(record).parent().unwrap().display().to_string();
        let flags = format!("--no-parent --compression {} {flags}", self.compression);
        let all = self.create_in(&storage, "all", &flags);
        assert!(rest_of(&path(record)) == rest_of(&path(&all)), "{record}");
        self.sandbox.ok("bk-rm all");
    }

    /// The bytes of an archive that others have too.
    fn shared_bytes(&self, record: &Value) -> u64 {
        let path = path(record).display().to_string();
        let told = self.sandbox.ok(&format!("filefrag -v -b1 {path}")).stdout;
        let shared = told.lines().filter(|line| line.contains("shared"));
        let length = |line: &str| -> u64 {
            let fields: Vec<_> = line.split(':').collect();
            fields[3].trim().parse().unwrap()
        };
        shared.map(length).sum()
    }

    fn is_read_by_all(&self, record: &Value) {
        let path = path(record).display().to_string();
        let reads = match self.compression {
            "gzip" => vec![
                format!("gzip -t {path} && tar -xzf {path} -C out"),
                format!("bsdtar -xf {path} -C out"),
                format!("python3 read.py {path}"),
            ],
            _ => vec![
                format!("zstd -q -t {path} && tar --zstd -xf {path} -C out"),
                format!("bsdtar -xf {path} -C out"),
            ],
        };
        for read in reads {
            let tool = read.split(' ').next().unwrap();
            if has(tool) {
                let line = format!("mkdir out && {read} && diff -r tree out/tree && rm -r out");
                self.sandbox.ok(&line);
            }
        }
    }
}

fn path(record: &Value) -> PathBuf {
    record["backup_path"].as_str().unwrap().into()
}

fn size(record: &Value) -> u64 {
    record["backup_size"].as_u64().unwrap()
}

fn new_bytes(record: &Value) -> u64 {
    record["backup_metadata"]["new_bytes"].as_u64().unwrap()
}

fn what_is_unchanged_costs_no_space(mkfs: &str, compression: &'static str) {
    let Some(shared) = Shared::new(mkfs, compression) else {
        return;
    };
    let sandbox = &shared.sandbox;
    let first = shared.create("p", "");
    let (record, cost) = shared.cost("a", "");
    assert_eq!(record["backup_metadata"]["parent"], "p");
    let size = size(&record);
    assert!(cost <= size / 50, "{cost} of {size}: {record}");
    assert!(new_bytes(&record) <= size / 50, "{record}");
    if has("filefrag") {
        let bytes = shared.shared_bytes(&record);
        assert!(bytes >= size / 100 * 98, "{bytes} of {size} are shared");
    }
    shared.check_same(&record, "");
    shared.check_same(&first, "");
    shared.is_read_by_all(&record);
    let verified = sandbox.ok("bk-verify --deep a p").records();
    assert!(
        verified.iter().all(|it| it["verify"]["ok"] == true),
        "{verified:?}"
    );
    assert_eq!(sandbox.ok("bk-ls --files a").records().len(), 409);
    sandbox.ok("bk-restore -C some --path tree/d3/large --path tree/d5/f5 a; cmp tree/d3/large some/tree/d3/large; cmp tree/d5/f5 some/tree/d5/f5");
    sandbox.ok(
        "rm -r some; bk-restore --test a; bk-restore -C out a; diff -r tree out/tree; rm -r out",
    );
    sandbox.ok("rm -r home; bk-adopt -r disk/store; bk-verify --deep --all; bk-restore -C out a; diff -r tree out/tree");
}

#[test]
fn on_xfs_what_is_unchanged_costs_no_space() {
    what_is_unchanged_costs_no_space("mkfs.xfs -q", "gzip");
}

#[test]
#[ignore = "seconds each, the same code: make test-long"]
fn on_btrfs_what_is_unchanged_costs_no_space() {
    what_is_unchanged_costs_no_space("mkfs.btrfs -q", "gzip");
    what_is_unchanged_costs_no_space("mkfs.btrfs -q", "zstd");
}

fn what_changed_costs_little(mkfs: &str, compression: &'static str) {
    let Some(shared) = Shared::new(mkfs, compression) else {
        return;
    };
    shared.create("p", "");
    fs::write(shared.sandbox.path("tree/d2/f2"), "changed").unwrap();
    let (record, cost) = shared.cost("a", "");
    // The groups of the file and of its directory, and where they end.
    assert!(cost < size(&record) / 4, "{cost}: {record}");
    assert!(new_bytes(&record) <= cost + 4096, "{cost}: {record}");
    shared.check_same(&record, "");
    shared.is_read_by_all(&record);

    let mut content = noise(1, LARGE_BYTES);
    for at in [5_000_000, 5_004_096, 9_000_000] {
        content[at] ^= 1;
    }
    fs::write(shared.sandbox.path("tree/d3/large"), content).unwrap();
    sleep(UNSURE);
    let (record, cost) = shared.cost("b", "");
    assert_eq!(record["backup_metadata"]["parent"], "a");
    // The piece with the header and the two that changed, and the small file, which is young.
    assert!(cost < 7 << 20, "{cost}: {record}");
    shared.check_same(&record, "");
    shared.is_read_by_all(&record);
    shared.sandbox.ok("bk-rm p; bk-verify --deep --all");
}

#[test]
#[ignore = "seconds each, the same code: make test-long"]
fn on_xfs_with_zstd() {
    what_is_unchanged_costs_no_space("mkfs.xfs -q", "zstd");
    what_changed_costs_little("mkfs.xfs -q", "zstd");
}

#[test]
fn on_xfs_what_changed_costs_little() {
    what_changed_costs_little("mkfs.xfs -q", "gzip");
}

#[test]
#[ignore = "seconds each, the same code: make test-long"]
fn on_btrfs_what_changed_costs_little() {
    what_changed_costs_little("mkfs.btrfs -q", "gzip");
    what_changed_costs_little("mkfs.btrfs -q", "zstd");
}

/// The parent is padded and its child is not, and the other way round; and another size of block.
fn padding_is_that_of_the_storage(compression: &'static str) {
    let Some(shared) = Shared::new("mkfs.xfs -q", compression) else {
        return;
    };
    let sandbox = &shared.sandbox;
    let compress = format!("--compression {compression}");
    let plain = shared.create_in("plain", "p", &compress);
    sandbox.ok("bk-mv p -- disk/store");
    let padded = shared.create("a", "");
    assert_eq!(padded["backup_metadata"]["parent"], "p");
    assert!(size(&padded) > size(&plain), "{padded}");
    shared.check_same(&padded, "");
    let unpadded = shared.create_in("plain", "b", &compress);
    assert_eq!(unpadded["backup_metadata"]["parent"], "a");
    shared.check_same(&unpadded, "");
    assert!(rest_of(&path(&unpadded)).len() < rest_of(&path(&padded)).len());
    for record in [&padded, &unpadded] {
        assert!(new_bytes(record) < size(record) / 20, "{record}");
        shared.is_read_by_all(record);
    }
    sandbox.ok("bk-mv a -- plain; bk-verify --deep --all");
    let again = shared.create_in("disk/store", "c", &format!("{compress} --parent a"));
    shared.check_same(&again, "");
    if let Some(_other) = image(sandbox, "mkfs.xfs -q -b size=1024", "400M", "other") {
        let small = shared.create_in("other/store", "d", &format!("{compress} --parent a"));
        shared.check_same(&small, "");
        let next = shared.create_in("other/store", "e", &format!("{compress} --parent d"));
        assert!(new_bytes(&next) < size(&next) / 50, "{next}");
        shared.check_same(&next, "");
        shared.is_read_by_all(&next);
        sandbox.ok("bk-verify --deep --all");
    }
}

#[test]
#[ignore = "half a minute: make test-long"]
fn padding_is_that_of_the_storage_in_gzip() {
    padding_is_that_of_the_storage("gzip");
}

#[test]
#[ignore = "seconds each, the same code: make test-long"]
fn padding_is_that_of_the_storage_in_zstd() {
    padding_is_that_of_the_storage("zstd");
}

/// Each byte of some padding, of its header and its end as well.
fn a_flip_in_padding_is_found(compression: &'static str) {
    let Some(shared) = Shared::new("mkfs.xfs -q", compression) else {
        return;
    };
    let record = shared.create("p", "");
    let honest = fs::read(path(&record)).unwrap();
    let (mark, before): (&[u8], usize) = match compression {
        "gzip" => (b"BP", 12),
        _ => (&[0x2a, 0x4d, 0x18], 1),
    };
    // The first padding begins there.
    let found = honest.windows(mark.len()).position(|it| it == mark);
    let begin = found.unwrap() - before;
    for at in [0, 3, 5, 8, 13, 17, 40, 500].map(|it| begin + it) {
        let mut bytes = honest.clone();
        bytes[at] ^= 4;
        fs::write(path(&record), &bytes).unwrap();
        let ran = shared.sandbox.run("bk-verify --deep p");
        assert_eq!(ran.status, 1, "{at} of {begin}: {ran:#?}");
        // Whoever adopts it has no hash to compare it with.
        let line = format!(
            "rm -rf new; bk-adopt --home new {}; bk-verify --home new --deep --all",
            path(&record).display()
        );
        let ran = shared.sandbox.run(&line);
        assert_eq!(ran.status, 1, "{at} of {begin}: {ran:#?}");
    }
}

#[test]
fn a_flip_in_padding_of_gzip_is_found() {
    a_flip_in_padding_is_found("gzip");
}

#[test]
#[ignore = "seconds each, the same code: make test-long"]
fn a_flip_in_padding_of_zstd_is_found() {
    a_flip_in_padding_is_found("zstd");
}
