//! The catalog protocol, on real DuckDB files.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use bk_schema::lines::Identity;
use bk_schema::record::{Backup, BackupType, Status};
use bk_store::home::Home;
use bk_store::{catalog, lock};
use jiff::Timestamp;

fn home(dir: &Path) -> Home {
    let now = "2026-11-24T08:00:00.123456Z".parse().unwrap();
    let mut home = Home::new(dir.to_owned(), "test", now, |_, _| {});
    home.lock_timeout = Duration::from_secs(20);
    home
}

fn backup(home: &Home, name: &str, status: Status) -> Backup {
    let whole = status == Status::Completed;
    Backup {
        id: 0,
        backup_name: name.into(),
        backup_type: BackupType::Manual,
        status,
        source_version: None,
        backup_path: home
            .dir
            .join(format!("{name}.tar.gz"))
            .to_str()
            .unwrap()
            .into(),
        backup_size: whole.then_some(1),
        file_count: whole.then_some(1),
        compression_type: "gzip".into(),
        backup_hash: whole.then(|| "0".repeat(64)),
        description: Some("with 'quotes'\nand é".into()),
        backup_metadata: serde_json::from_str(r#"{"b":1,"a":[2]}"#).unwrap(),
        protected: true,
        created_at: home.now,
        expires_at: Some(Timestamp::UNIX_EPOCH),
        copies: Vec::new(),
    }
}

#[test]
fn a_record_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir.path().join("new/home"));
    let put = catalog::write(&home, |s| s.insert(&backup(&home, "a", Status::Completed))).unwrap();
    let got = catalog::read(&home, |s| s.find(&[Identity::from_operand("a").unwrap()])).unwrap();
    assert_eq!(
        got.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        [put]
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&home.dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_failed_session_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    catalog::write(&home, |_| Ok(())).unwrap();
    let result = catalog::write(&home, |s| {
        s.insert(&backup(&home, "a", Status::Completed))?;
        s.insert(&backup(&home, "a", Status::Completed))
    });
    assert!(result.is_err());
    assert!(catalog::read(&home, |s| s.backups()).unwrap().is_empty());
}

#[test]
fn readers_and_writers_at_once_all_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    std::thread::scope(|scope| {
        for n in 0..15 {
            let home = &home;
            scope.spawn(move || {
                catalog::write(home, |s| {
                    s.insert(&backup(home, &format!("w{n}"), Status::Completed))
                })
                .unwrap()
            });
            scope.spawn(move || {
                for _ in 0..2000 {
                    if home.has_catalog() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                catalog::read(home, |s| s.backups()).unwrap()
            });
        }
    });
    let names: std::collections::BTreeSet<_> = catalog::read(&home, |s| s.backups())
        .unwrap()
        .into_iter()
        .map(|b| b.unwrap().backup_name)
        .collect();
    assert_eq!(names.len(), 15);
}

#[test]
fn a_lock_that_stays_is_named_and_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let hasty = Home {
        lock_timeout: Duration::from_millis(50),
        ..home.clone()
    };
    let began = Timestamp::now();
    catalog::write(&home, |_| {
        // Since when it is held, not since when the program runs.
        let note = std::fs::read_to_string(dir.path().join("catalog.lock"))?;
        let since: Timestamp = note.split_whitespace().nth(2).unwrap().parse()?;
        assert!(since >= began.round(jiff::Unit::Second)? - jiff::SignedDuration::from_secs(1));
        assert!(since <= Timestamp::now(), "{note}");
        let error = catalog::write(&hasty, |_| Ok(())).unwrap_err();
        assert!(error.is::<lock::Timeout>(), "{error:#}");
        assert!(
            error
                .to_string()
                .contains(&format!("test (pid {}", std::process::id())),
            "{error:#}"
        );
        Ok(())
    })
    .unwrap();
    catalog::write(&hasty, |_| Ok(())).unwrap();
}

#[test]
fn a_dead_creation_is_failed_and_its_partial_removed() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let row = catalog::write(&home, |s| s.insert(&backup(&home, "a", Status::Creating))).unwrap();
    let partial = dir.path().join("a.tar.gz.partial");
    let file = std::fs::File::create(&partial).unwrap();
    file.lock().unwrap();
    let status = || {
        catalog::read(&home, |s| s.backups())
            .unwrap()
            .remove(0)
            .unwrap()
            .status
    };
    catalog::write(&home, |_| Ok(())).unwrap();
    assert_eq!(
        (status(), partial.exists()),
        (Status::Creating, true),
        "its writer lives"
    );
    drop(file);
    catalog::write(&home, |_| Ok(())).unwrap();
    assert_eq!(
        (status(), partial.exists()),
        (Status::Failed, false),
        "its writer is dead"
    );
    assert_eq!(row.status, Status::Creating);
}

#[test]
fn a_missing_and_a_damaged_catalog_are_errors_that_name_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let error = catalog::read(&home, |_| Ok(())).unwrap_err();
    assert!(
        error.to_string().contains("bk-create makes one"),
        "{error:#}"
    );
    catalog::write(&home, |_| Ok(())).unwrap();
    std::fs::write(home.catalog(), "no catalog").unwrap();
    let error = catalog::read(&home, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("bk-adopt"), "{error:#}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn of_many_that_are_changed_the_one_that_is_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let all: Vec<_> = ["a", "b", "c"]
        .map(|it| backup(&home, it, Status::Failed))
        .into();
    let all: Vec<_> =
        catalog::write(&home, |s| all.iter().map(|it| s.insert(it)).collect()).unwrap();
    catalog::write(&home, |s| s.remove(&[all[1].id])).unwrap();
    let told = catalog::write(&home, |s| s.update_all(&all)).unwrap_err();
    assert_eq!(told.to_string(), "the record 2 was removed in the meantime");
}
