//! What every kind of place promises: a directory, an S3 server, and what rclone reaches.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::thread;

use bk_remote::{
    CanLock, Kind, Location, Lock, LockMode, Options, Part, PartReceipt, Place, Storing, open,
    sha256, sha256_of_parts,
};

use crate::server::given::has;
use crate::server::seaweed::ADMIN;
use crate::server::{Server, bucket};

const PART_BYTES: usize = 5 * 1024 * 1024;
const KEY: &str = "web1/archives/nightly-3.tar.gz";

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 997) as u8).collect()
}

fn storing(may_replace: bool) -> Storing {
    Storing {
        may_replace,
        ..Storing::default()
    }
}

fn keys(place: &dyn Place, below: &str) -> Vec<(String, u64)> {
    let mut keys = Vec::new();
    place
        .list(below, &mut |listed| {
            assert!(listed.modified_at.is_some());
            keys.push((listed.key, listed.size));
            Ok(())
        })
        .unwrap();
    keys.sort();
    keys
}

fn get(place: &dyn Place, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(place.get(key, &mut bytes).unwrap(), bytes.len() as u64);
    bytes
}

/// Whole objects: written once, asked for, read, listed, removed.
fn keeps_objects(place: &dyn Place) {
    let kind = |result: bk_remote::Result<_>| result.map(drop).unwrap_err().kind();
    place.init().unwrap();
    assert_eq!(kind(place.head(KEY).map(drop)), Kind::NotFound);
    assert_eq!(
        kind(place.get(KEY, &mut Vec::new()).map(drop)),
        Kind::NotFound
    );
    assert_eq!(kind(place.get_range(KEY, 0, 1).map(drop)), Kind::NotFound);
    place.delete(KEY, None).unwrap();
    assert_eq!(keys(place, "web1/archives"), []);

    let bytes = content(100_000);
    place.put(KEY, bytes.clone(), &Storing::default()).unwrap();
    let there = place.head(KEY).unwrap();
    assert_eq!(there.size, 100_000);
    assert!(there.modified_at.unwrap().as_second() > 1_700_000_000);
    if let Some(told) = there.sha256 {
        assert_eq!(told, sha256(&bytes));
    }
    assert_eq!(get(place, KEY), bytes);
    assert_eq!(place.get_range(KEY, 99_990, 100).unwrap(), bytes[99_990..]);
    assert_eq!(place.get_range(KEY, 5, 7).unwrap(), bytes[5..12]);
    assert!(place.get_range(KEY, 5, 0).unwrap().is_empty());

    let other = content(10);
    assert_eq!(
        kind(place.put(KEY, other.clone(), &storing(false)).map(drop)),
        Kind::AlreadyThere
    );
    assert_eq!(get(place, KEY), bytes);
    place.put(KEY, other.clone(), &storing(true)).unwrap();
    assert_eq!(get(place, KEY), other);

    for key in [
        "web1/archives/ü x+%2F&=.json",
        "web2/a",
        "web2/b/c",
        "-n/a",
        "empty/file",
    ] {
        place
            .put(
                key,
                key.as_bytes()[..key.len() - 4].to_vec(),
                &Storing::default(),
            )
            .unwrap();
        assert_eq!(get(place, key), key.as_bytes()[..key.len() - 4]);
    }
    place
        .put("empty/none", Vec::new(), &Storing::default())
        .unwrap();
    assert!(get(place, "empty/none").is_empty());
    let mut dirs = place.list_dirs("").unwrap();
    dirs.sort();
    assert_eq!(dirs, ["-n", "empty", "web1", "web2"]);
    assert_eq!(place.list_dirs("web2").unwrap(), ["b"]);
    assert_eq!(
        keys(place, "web2"),
        [("web2/a".to_owned(), 2), ("web2/b/c".to_owned(), 4)]
    );
    assert_eq!(keys(place, "web"), []);
    assert_eq!(keys(place, "").len(), 7);
    for (key, _) in keys(place, "") {
        place.delete(&key, None).unwrap();
    }
    assert_eq!(keys(place, ""), []);
    for key in ["", "../x", "a/../x", "/a", "a//b", "a\nb"] {
        assert_eq!(
            kind(place.put(key, Vec::new(), &storing(true)).map(drop)),
            Kind::Other,
            "{key:?}"
        );
    }
}

/// A file as a whole, in parts where there are such.
fn sends_files(place: &dyn Place) {
    let mut file = tempfile::tempfile().unwrap();
    let bytes = content(17 * 1024 * 1024 + 3);
    file.write_all(&bytes).unwrap();
    for size in [0, 1, bytes.len()] {
        let key = format!("web1/file-{size}");
        place
            .put_file(&key, &file, size as u64, &Storing::default())
            .unwrap();
        assert!(get(place, &key) == bytes[..size], "{size}");
        place.delete(&key, None).unwrap();
    }
    let longer = bytes.len() as u64 + 1;
    let error = place
        .put_file("web1/short", &file, longer, &Storing::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot read what is to be sent"),
        "{error}"
    );
    assert_eq!(keys(place, ""), []);
}

fn send(
    place: &dyn Place,
    key: &str,
    upload: &str,
    number: usize,
    bytes: &[u8],
) -> bk_remote::Result<PartReceipt> {
    let offset = (number - 1) * PART_BYTES;
    let end = bytes.len().min(offset + PART_BYTES);
    let part = Part {
        number: u32::try_from(number).unwrap(),
        offset: offset as u64,
        bytes: bytes[offset..end].to_vec(),
    };
    place.part(key, upload, part)
}

/// Parts, several at once, in any order, by a process that goes on where another was killed.
fn takes_parts(open: &dyn Fn() -> Box<dyn Place>) {
    let bytes = content(3 * PART_BYTES + 1000);
    let (place, key) = (open(), "web1/archives/large.tar.gz");
    let upload = place.begin(key, &Storing::default()).unwrap();
    let receipts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in [4, 2, 1] {
            let (place, upload, bytes, receipts) = (&place, &upload, &bytes, &receipts);
            scope.spawn(move || {
                let receipt = send(place.as_ref(), key, upload, number, bytes).unwrap();
                receipts
                    .lock()
                    .unwrap()
                    .push(serde_json::to_string(&receipt).unwrap());
            });
        }
    });
    assert_eq!(
        keys(place.as_ref(), ""),
        [],
        "not there before it is complete"
    );
    drop(place);
    let place = open();
    let text = receipts.into_inner().unwrap();
    let mut receipts: Vec<PartReceipt> = text
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    receipts.sort_by_key(|receipt| receipt.number);
    let gap = place
        .complete(key, &upload, &receipts, &Storing::default())
        .unwrap_err();
    assert!(gap.to_string().contains("part 2"), "{gap}");
    // The same one again, as by one that was killed before it could note the receipt.
    send(place.as_ref(), key, &upload, 3, &content(3 * PART_BYTES)).unwrap();
    receipts.insert(2, send(place.as_ref(), key, &upload, 3, &bytes).unwrap());
    assert_eq!(
        receipts[1].sha256,
        sha256(&bytes[PART_BYTES..2 * PART_BYTES])
    );
    let stored = place
        .complete(key, &upload, &receipts, &Storing::default())
        .unwrap();
    let there = place.head(key).unwrap();
    assert_eq!(there.size, bytes.len() as u64);
    if let Some(etag) = &there.etag {
        assert_eq!(
            stored.etag.as_ref().map(|it| it.trim_matches('"')),
            Some(etag.trim_matches('"'))
        );
    }
    if let Some(told) = there.sha256 {
        assert_eq!(told, sha256_of_parts(&receipts));
    }
    assert!(get(place.as_ref(), key) == bytes);

    // It is done, and no other takes its place.
    let again = place
        .complete(key, &upload, &receipts, &Storing::default())
        .unwrap_err();
    assert!(
        [Kind::UnknownUpload, Kind::AlreadyThere].contains(&again.kind()),
        "{again}"
    );
    let upload = place.begin(key, &Storing::default()).unwrap();
    let receipt = send(place.as_ref(), key, &upload, 1, b"other").unwrap();
    let error = place
        .complete(key, &upload, &[receipt], &Storing::default())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyThere, "{error}");
    place.abort(key, &upload).unwrap();
    let error = send(place.as_ref(), key, &upload, 1, b"other").unwrap_err();
    assert_eq!(error.kind(), Kind::UnknownUpload, "{error}");
    let error = send(place.as_ref(), key, "00", 1, b"other").unwrap_err();
    assert_eq!(error.kind(), Kind::UnknownUpload, "{error}");
    place.abort(key, &upload).unwrap();
    assert!(get(place.as_ref(), key) == bytes);
    place.delete(key, None).unwrap();
}

#[test]
fn a_directory_does() {
    let dir = tempfile::tempdir().unwrap();
    let location: Location = format!("file://{}/bk", dir.path().display())
        .parse()
        .unwrap();
    let open = || open(&location, &Options::default()).unwrap();
    let absent = open()
        .put(KEY, Vec::new(), &Storing::default())
        .unwrap_err();
    assert_eq!(
        absent.to_string(),
        format!("{location} is not there; mount it, or make the directory if this is a new place")
    );
    assert!(!dir.path().join("bk").exists());
    keeps_objects(open().as_ref());
    sends_files(open().as_ref());
    takes_parts(&open);
    let mode = |path: &str| {
        fs::metadata(dir.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    open().put(KEY, Vec::new(), &Storing::default()).unwrap();
    assert_eq!(
        (mode("bk/web1"), mode(&format!("bk/{KEY}"))),
        (0o700, 0o600)
    );
    let wishes = [
        Storing {
            storage_class: Some("GLACIER".to_owned()),
            ..Storing::default()
        },
        Storing {
            lock: Some(Lock {
                mode: LockMode::Compliance,
                until: "2100-01-01T00:00:00Z".parse().unwrap(),
            }),
            ..Storing::default()
        },
    ];
    for wish in wishes {
        assert_eq!(
            open().begin("a", &wish).unwrap_err().kind(),
            Kind::Unsupported
        );
    }
    assert_eq!(open().can_lock().unwrap(), CanLock::No);
    let left: Vec<_> = walkdir::WalkDir::new(dir.path())
        .into_iter()
        .flatten()
        .collect();
    assert!(
        left.iter()
            .all(|it| !it.path().to_string_lossy().contains(".partial")),
        "{left:?}"
    );
}

#[test]
fn what_links_out_of_a_directory_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "x").unwrap();
    fs::create_dir(dir.path().join("bk")).unwrap();
    std::os::unix::fs::symlink("../secret", dir.path().join("bk/a")).unwrap();
    let location: Location = format!("file://{}/bk", dir.path().display())
        .parse()
        .unwrap();
    let place = open(&location, &Options::default()).unwrap();
    assert!(place.head("a").is_err() && place.get("a", &mut Vec::new()).is_err());
    assert_eq!(keys(place.as_ref(), ""), []);
    let error = place.put("a", Vec::new(), &storing(false)).unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyThere);
    place.put("a", b"y".to_vec(), &storing(true)).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("secret")).unwrap(), "x");
}

#[test]
fn a_rate_is_kept_and_a_stop_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let location: Location = format!("file://{}", dir.path().display()).parse().unwrap();
    let mut options = Options {
        limit_rate: Some(100_000),
        ..Options::default()
    };
    let place = open(&location, &options).unwrap();
    let begun = std::time::Instant::now();
    place
        .put("a", vec![0; 100_000], &Storing::default())
        .unwrap();
    let taken = begun.elapsed().as_secs_f64();
    assert!((0.6..10.0).contains(&taken), "{taken}");
    options.is_stopped = std::sync::Arc::new(|| true);
    let error = open(&location, &options)
        .unwrap()
        .put("b", vec![0; 10], &Storing::default())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Stopped);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn rclone_does() {
    if !has("rclone") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("rclone.conf");
    let root = dir.path().join("bk");
    fs::write(
        &config,
        format!("[nas]\ntype = alias\nremote = {}\n", root.display()),
    )
    .unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let options = Options {
        credentials: Some(config),
        ..Options::default()
    };
    let location: Location = "rclone:nas:p".parse().unwrap();
    let place = open(&location, &options).unwrap();
    keeps_objects(place.as_ref());
    sends_files(place.as_ref());
    assert_eq!(
        place.begin("a", &Storing::default()).unwrap_err().kind(),
        Kind::Unsupported
    );
    let unknown: Location = "rclone:nosuch:p".parse().unwrap();
    let error = open(&unknown, &options).unwrap().head("a").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("didn't find section in config file"),
        "{error}"
    );
}

#[test]
fn s3_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let options = server.options(ADMIN);
    let location = bucket(&server.endpoint(), "plain");
    let open = || open(&location, &options).unwrap();
    keeps_objects(open().as_ref());
    sends_files(open().as_ref());
    takes_parts(&open);
    assert_eq!(open().can_lock().unwrap(), CanLock::No);
    let place = open();
    for number in 0..1203 {
        place
            .put(&format!("many/{number}"), vec![1], &Storing::default())
            .unwrap();
    }
    assert_eq!(keys(place.as_ref(), "many").len(), 1203);
    let confirmed = place.put("x", vec![1], &Storing::default()).unwrap();
    assert!(confirmed.is_confirmed && confirmed.etag.is_some());
    let class = Storing {
        storage_class: Some("STANDARD_IA".to_owned()),
        ..Storing::default()
    };
    place.put("ia", vec![1], &class).unwrap();
    let told = place.head("ia").unwrap().storage_class;
    assert_eq!(told.as_deref(), Some("STANDARD_IA"));
}
