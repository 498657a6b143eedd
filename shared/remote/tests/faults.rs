//! An object store behind a line that drops connections, cuts what passes, stalls and answers 503.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bk_remote::{Kind, Location, Options, Part, Place, Storing, open};

use crate::server::given::stride;
use crate::server::proxy::{Fault, Proxy};
use crate::server::seaweed::ADMIN;
use crate::server::{Server, bucket};

const PART_BYTES: usize = 5 * 1024 * 1024;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 997) as u8).collect()
}

struct Line {
    location: Location,
    options: Options,
    proxy: Proxy,
    _server: Server,
}

impl Line {
    fn new() -> Option<Self> {
        let server = Server::start()?;
        let proxy = Proxy::to(&server.endpoint());
        let options = Options {
            time_limit: Duration::from_secs(20),
            stall_limit: Duration::from_secs(1),
            ..server.options(ADMIN)
        };
        Some(Self {
            location: bucket(proxy.endpoint(), "plain"),
            options,
            proxy,
            _server: server,
        })
    }

    /// The first connections of a new process are so.
    fn with<T>(&self, faults: &[Fault], work: impl FnOnce(&dyn Place) -> T) -> T {
        let met_before = self.proxy.met_count();
        self.proxy.strike(faults.to_vec());
        let done = work(open(&self.location, &self.options).unwrap().as_ref());
        let met = self.proxy.met_count() - met_before;
        assert_eq!(met, faults.len(), "a fault was not met");
        done
    }
}

const SENDING: [Fault; 8] = [
    Fault::CutRequest(300),
    Fault::CutRequest(2_000_000),
    Fault::CutAnswer(0),
    Fault::CutAnswer(20),
    Fault::Stall,
    Fault::Status(503),
    Fault::Status(500),
    Fault::Status(429),
];

#[test]
fn what_is_sent_over_a_bad_line_is_there_in_the_end() {
    let Some(line) = Line::new() else { return };
    let bytes = content(PART_BYTES);
    for (number, fault) in SENDING.into_iter().enumerate().step_by(stride(2)) {
        let (small, large) = (format!("small-{number}"), format!("large-{number}"));
        let plain = Storing::default();
        let stored = line.with(&[fault, fault], |place| {
            place.put(&small, bytes.clone(), &plain)
        });
        assert!(stored.unwrap().is_confirmed, "{fault:?}");
        // What is small fits before the cut.
        let cut = match fault {
            Fault::CutRequest(_) => Fault::CutRequest(300),
            fault => fault,
        };
        let upload = line
            .with(&[cut], |place| place.begin(&large, &plain))
            .unwrap();
        let part = Part {
            number: 1,
            offset: 0,
            bytes: bytes.clone(),
        };
        let receipt = line
            .with(&[fault, fault], |place| place.part(&large, &upload, part))
            .unwrap();
        assert!(receipt.is_confirmed, "{fault:?}");
        let completed = line.with(&[cut], |place| {
            place.complete(&large, &upload, &[receipt], &plain)
        });
        assert!(completed.unwrap().is_confirmed, "{fault:?}");
        for key in [&small, &large] {
            let mut there = Vec::new();
            line.with(&[], |place| place.get(key, &mut there)).unwrap();
            assert!(there == bytes, "{fault:?} {key}");
        }
        let other = line.with(&[fault], |place| {
            place.put(&small, bytes[1..].to_vec(), &plain)
        });
        assert_eq!(other.unwrap_err().kind(), Kind::AlreadyThere, "{fault:?}");
    }
}

#[test]
fn what_is_read_over_a_bad_line_is_whole() {
    let Some(line) = Line::new() else { return };
    let bytes = content(PART_BYTES);
    line.with(&[], |place| {
        place.put("a/b", bytes.clone(), &Storing::default())
    })
    .unwrap();
    for fault in [
        Fault::CutAnswer(20),
        Fault::CutAnswer(1_000_000),
        Fault::CutAnswer(1_500_000),
        Fault::Stall,
        Fault::Status(503),
    ] {
        let mut there = Vec::new();
        let read = line.with(&[fault, fault, fault], |place| place.get("a/b", &mut there));
        assert_eq!(read.unwrap(), bytes.len() as u64, "{fault:?}");
        assert!(there == bytes, "{fault:?}");
        let range = line
            .with(&[fault], |place| place.get_range("a/b", 7, 5_000_000))
            .unwrap();
        assert!(range == bytes[7..5_000_007], "{fault:?}");
    }
    let small = [Fault::CutAnswer(20), Fault::Stall, Fault::Status(500)];
    assert_eq!(
        line.with(&small, |place| place.list_dirs("")).unwrap(),
        ["a"]
    );
    let mut keys = Vec::new();
    let listed = line.with(&small, |place| {
        place.list("", &mut |listed| {
            keys.push(listed.key);
            Ok(())
        })
    });
    listed.unwrap();
    assert_eq!(keys, ["a/b"]);
    assert_eq!(
        line.with(&small, |place| place.head("a/b")).unwrap().size,
        bytes.len() as u64
    );
    line.with(&small, |place| place.delete("a/b", None))
        .unwrap();
    let gone = line.with(&small, |place| place.head("a/b")).unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[test]
fn a_line_that_stays_bad_ends_within_the_limits() {
    let Some(line) = Line::new() else { return };
    let options = Options {
        time_limit: Duration::from_secs(2),
        ..line.options.clone()
    };
    let place = open(&line.location, &options).unwrap();
    for (fault, reason) in [
        (Fault::Stall, "no answer for 1 s"),
        (Fault::Status(503), "503 Service Unavailable"),
    ] {
        line.proxy.strike([fault; 50]);
        let begun = Instant::now();
        let error = place
            .put("a", vec![1; 100], &Storing::default())
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
    }
    line.proxy.strike([Fault::Stall; 50]);
    let stop = Instant::now() + Duration::from_millis(500);
    let options = Options {
        is_stopped: Arc::new(move || Instant::now() > stop),
        ..line.options.clone()
    };
    let error = open(&line.location, &options)
        .unwrap()
        .head("a")
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Stopped);
    assert!(stop.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_rate_holds_for_all_threads_together() {
    let Some(line) = Line::new() else { return };
    let options = Options {
        limit_rate: Some(2_000_000),
        ..line.options.clone()
    };
    let place = open(&line.location, &options).unwrap();
    let upload = place.begin("a", &Storing::default()).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 1..=3 {
            let (place, upload) = (&place, &upload);
            scope.spawn(move || {
                let bytes = content(3_000_000);
                place
                    .part(
                        "a",
                        upload,
                        Part {
                            number,
                            offset: 0,
                            bytes,
                        },
                    )
                    .unwrap();
            });
        }
    });
    let taken = begun.elapsed().as_secs_f64();
    assert!((4.0..20.0).contains(&taken), "{taken}");
    place.abort("a", &upload).unwrap();
}
