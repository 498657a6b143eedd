//! An object store behind a line that drops connections, cuts what passes, stalls and answers 503.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use bk_remote::{Kind, Location, Options, Part, Place, Storing, open};

const PART_BYTES: usize = 5 * 1024 * 1024;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The request ends after so many bytes.
    CutRequest(u64),
    /// The answer does; nothing of it comes for 0.
    CutAnswer(u64),
    /// Nothing passes.
    Stall,
    /// The answer is this status, and the server is not asked.
    Status(u16),
}

type Faults = Arc<Mutex<VecDeque<Fault>>>;

/// A proxy whose next connections have these faults.
fn proxy(server: &str) -> (String, Faults) {
    let server = server.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let faults = Faults::default();
    let next = faults.clone();
    spawn(move || {
        for client in listener.incoming() {
            let (server, next) = (server.clone(), next.clone());
            spawn(move || serve(client.unwrap(), &server, &next));
        }
    });
    (endpoint, faults)
}

fn serve(mut client: TcpStream, server: &str, faults: &Faults) {
    // A connection that is kept open counts once it is used.
    let mut first = [0; 1];
    if client.peek(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let fault = faults.lock().unwrap().pop_front();
    let (most_sent, most_told) = match fault {
        Some(Fault::CutRequest(bytes)) => (bytes, u64::MAX),
        Some(Fault::CutAnswer(bytes)) => (u64::MAX, bytes),
        Some(Fault::Stall) => return sleep(Duration::from_secs(20)),
        Some(Fault::Status(status)) => {
            let mut request = [0; 65536];
            let _ = client.read(&mut request);
            let answer =
                format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = client.write_all(answer.as_bytes());
            // What is still sent is read, so that the answer is not lost with it.
            let _ = client.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut client, &mut std::io::sink());
            return;
        }
        None => (u64::MAX, u64::MAX),
    };
    let upstream = TcpStream::connect(server).unwrap();
    let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    let sending = spawn(move || pass(from, to, most_sent));
    pass(upstream, client, most_told);
    sending.join().unwrap();
}

fn pass(from: TcpStream, mut to: TcpStream, most: u64) {
    let _ = match most {
        // The answer is waited for, and then lost.
        0 => (&from).take(1).read(&mut [0; 1]).map(|_| 0),
        _ => std::io::copy(&mut (&from).take(most), &mut to),
    };
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 997) as u8).collect()
}

struct Line {
    location: Location,
    options: Options,
    faults: Faults,
    _dir: tempfile::TempDir,
}

impl Line {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (endpoint, options) = server::server(dir.path());
        let (endpoint, faults) = proxy(&endpoint);
        let options = Options {
            time_limit: Duration::from_secs(20),
            stall_limit: Duration::from_secs(1),
            ..options
        };
        Self {
            location: server::bucket(&endpoint, "plain"),
            options,
            faults,
            _dir: dir,
        }
    }

    /// The first connections of a new process are so.
    fn with<T>(&self, faults: &[Fault], work: impl FnOnce(&dyn Place) -> T) -> T {
        self.faults.lock().unwrap().extend(faults);
        let done = work(open(&self.location, &self.options).unwrap().as_ref());
        assert!(
            self.faults.lock().unwrap().is_empty(),
            "a fault was not met"
        );
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
#[ignore = "needs a server"]
fn what_is_sent_over_a_bad_line_is_there_in_the_end() {
    let bytes = content(PART_BYTES);
    for (number, fault) in SENDING.into_iter().enumerate() {
        let line = Line::new();
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
#[ignore = "needs a server"]
fn what_is_read_over_a_bad_line_is_whole() {
    let line = Line::new();
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
#[ignore = "needs a server"]
fn a_line_that_stays_bad_ends_within_the_limits() {
    let line = Line::new();
    let options = Options {
        time_limit: Duration::from_secs(2),
        ..line.options.clone()
    };
    let place = open(&line.location, &options).unwrap();
    for (fault, reason) in [
        (Fault::Stall, "no answer for 1 s"),
        (Fault::Status(503), "503 Service Unavailable"),
    ] {
        line.faults.lock().unwrap().extend([fault; 50]);
        let begun = Instant::now();
        let error = place
            .put("a", vec![1; 100], &Storing::default())
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{:?}",
            begun.elapsed()
        );
        line.faults.lock().unwrap().clear();
    }
    line.faults.lock().unwrap().extend([Fault::Stall; 50]);
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
    assert!(stop.elapsed() < Duration::from_secs(1));
}

#[test]
#[ignore = "needs a server"]
fn a_rate_holds_for_all_threads_together() {
    let line = Line::new();
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
    assert!((4.0..7.0).contains(&taken), "{taken}");
    place.abort("a", &upload).unwrap();
}
