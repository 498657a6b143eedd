//! What only S3 has: locks, rights, and its ways to say no.

use std::thread;

use bk_remote::{CanLock, Kind, Location, Lock, LockMode, Options, Part, Storing, open};

use crate::server::proxy::{Fault, Proxy};
use crate::server::seaweed::{ADMIN, Keys, PUT_ONLY};
use crate::server::{Server, bucket};

#[test]
fn s3_locks() {
    let Some(server) = Server::start() else {
        return;
    };
    let (endpoint, options) = (server.endpoint(), server.options(ADMIN));
    let place = open(&bucket(&endpoint, "locked"), &options).unwrap();
    assert_eq!(place.can_lock().unwrap(), CanLock::Yes);
    let until = jiff::Timestamp::now().as_second() + 12;
    let until = jiff::Timestamp::from_second(until).unwrap();
    let mut all = Vec::new();
    for (mode, name) in [(LockMode::Compliance, "c"), (LockMode::Governance, "g")] {
        let lock = Some(Lock { mode, until });
        let storing = Storing {
            lock,
            ..Storing::default()
        };
        let (small, large) = (format!("small-{name}"), format!("large-{name}"));
        let stored = place.put(&small, vec![1], &storing).unwrap();
        let upload = place.begin(&large, &storing).unwrap();
        let part = Part {
            number: 1,
            offset: 0,
            bytes: vec![1; 100],
        };
        let receipt = place.part(&large, &upload, part).unwrap();
        assert!(receipt.is_confirmed);
        let joined = place
            .complete(&large, &upload, &[receipt], &storing)
            .unwrap();
        all.extend([(small, stored.version), (large, joined.version)]);
    }
    for (key, version) in &all {
        assert!(version.is_some(), "{key}");
        assert_eq!(place.head(key).unwrap().locked_until, Some(until), "{key}");
        for version in [None, version.as_deref()] {
            let error = place.delete(key, version).unwrap_err();
            assert_eq!(
                error.kind(),
                Kind::Locked(Some(until)),
                "{key} {version:?} {error}"
            );
            assert!(
                error
                    .to_string()
                    .ends_with(&format!("is locked until {until}")),
                "{error}"
            );
        }
    }
    while jiff::Timestamp::now() <= until {
        thread::sleep(std::time::Duration::from_millis(200));
    }
    for (key, version) in &all {
        place.delete(key, version.as_deref()).unwrap();
        assert_eq!(place.head(key).unwrap_err().kind(), Kind::NotFound);
    }
}

/// Where the answer to a put is lost, what is found there may have been there before.
#[test]
fn s3_takes_no_object_without_a_lock_for_one_that_is_to_have_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let options = server.options(ADMIN);
    let line = Proxy::to(&server.endpoint());
    let location = bucket(line.endpoint(), "locked");
    let put = |storing: &Storing| {
        let place = open(&location, &options).unwrap();
        place.put("before", vec![1], storing)
    };
    let bare = Storing::default();
    put(&bare).unwrap();
    line.strike([Fault::Status(503)]);
    put(&bare).unwrap();
    line.strike([Fault::Status(503)]);
    let until = jiff::Timestamp::now().as_second() + 2;
    let lock = Lock {
        mode: LockMode::Governance,
        until: jiff::Timestamp::from_second(until).unwrap(),
    };
    let locked = Storing {
        lock: Some(lock),
        ..bare
    };
    let error = put(&locked).unwrap_err();
    assert_eq!((error.kind(), line.met_count()), (Kind::AlreadyThere, 2));
}

#[test]
fn s3_tells_what_is_wrong() {
    let Some(server) = Server::start() else {
        return;
    };
    let (endpoint, options) = (server.endpoint(), server.options(ADMIN));
    let location = bucket(&endpoint, "plain");
    let try_put = |location: &Location, options: &Options| {
        open(location, options)
            .unwrap()
            .put("a", vec![1], &Storing::default())
    };
    let wrong = server.options(Keys {
        secret: "wrong",
        ..ADMIN
    });
    let error = try_put(&location, &wrong).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    let unknown = server.options(Keys {
        id: "NOBODY",
        secret: "wrong",
    });
    let error = try_put(&location, &unknown).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    let nowhere = open(&bucket(&endpoint, "nosuch-bucket-2"), &options).unwrap();
    let error = nowhere.get("a", &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let options = Options {
        time_limit: std::time::Duration::from_secs(2),
        ..options
    };
    let error = try_put(&bucket("http://127.0.0.1:9", "plain"), &options).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    let putter = server.options(PUT_ONLY);
    try_put(&location, &putter).unwrap();
    let place = open(&location, &putter).unwrap();
    let upload = place.begin("large", &Storing::default()).unwrap();
    let receipt = place
        .part(
            "large",
            &upload,
            Part {
                number: 1,
                offset: 0,
                bytes: vec![1; 100],
            },
        )
        .unwrap();
    place
        .complete("large", &upload, &[receipt], &Storing::default())
        .unwrap();
    for error in [
        place.get("a", &mut Vec::new()).map(drop).unwrap_err(),
        place.list("", &mut |_| Ok(())).unwrap_err(),
        place.head("a").map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Refused, "{error}");
    }
    assert_eq!(place.can_lock().unwrap(), CanLock::MayNotAsk);
    let lock = Lock {
        mode: LockMode::Compliance,
        until: "2100-01-01T00:00:00Z".parse().unwrap(),
    };
    let storing = Storing {
        lock: Some(lock),
        ..Storing::default()
    };
    for error in [
        place.put("b", vec![1], &storing).map(drop).unwrap_err(),
        place.begin("b", &storing).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(
            error.reason().starts_with("the bucket has no object locks"),
            "{error}"
        );
    }
}
