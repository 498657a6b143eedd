//! What the catalog knows of copies elsewhere, on real DuckDB files.
#![allow(clippy::unwrap_used)]

use bk_schema::copy::{BackupCopy, CopyStatus};
use bk_schema::record::{Backup, Status};
use bk_store::home::Home;
use bk_store::{Session, catalog};

fn backup(home: &Home, name: &str) -> Backup {
    Backup {
        backup_name: name.into(),
        status: Status::Completed,
        backup_path: format!("{}/{name}.tar.gz", home.dir.display()),
        backup_size: Some(1),
        file_count: Some(1),
        compression_type: "gzip".into(),
        backup_hash: Some("0".repeat(64)),
        created_at: home.now,
        ..Backup::default()
    }
}

fn copy(of: &Backup, location: &str) -> BackupCopy {
    BackupCopy {
        backup_id: of.id,
        backup_name: of.backup_name.clone(),
        location: location.into(),
        object_key: format!("web/archives/{}-000000000000.tar.gz", of.backup_name),
        recipients: vec!["age1abc".into(), "ssh-ed25519 AAAA b@c".into()],
        ..BackupCopy::default()
    }
}

/// A home with two backups.
fn home() -> (tempfile::TempDir, Home, [Backup; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let now = "2026-11-24T08:00:00Z".parse().unwrap();
    let home = Home::new(dir.path().to_owned(), "test", now, |_, _| {});
    let put = |session: &Session<'_>| {
        let a = session.insert(&backup(&home, "a"))?;
        Ok([a, session.insert(&backup(&home, "b"))?])
    };
    let both = catalog::write(&home, put).unwrap();
    (dir, home, both)
}

fn copies_of(home: &Home, id: i64) -> Vec<BackupCopy> {
    let found = catalog::read(home, |s| s.copies_of(&[id])).unwrap();
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    let row = catalog::read(home, |s| s.find_ids([id])).unwrap().remove(0);
    if let Ok(backup) = row {
        assert_eq!(backup.copies, found, "the record carries the same");
    }
    found
}

#[test]
fn a_copy_is_one_row_from_its_beginning_to_its_end() {
    let (_dir, home, [a, b]) = home();
    let begun = BackupCopy {
        parts_hash: Some(format!("{}-2", "e".repeat(64))),
        ..copy(&a, "offsite")
    };
    for _ in 0..2 {
        catalog::write(&home, |s| s.begin_copy(&begun)).unwrap();
        assert_eq!(copies_of(&home, a.id), std::slice::from_ref(&begun));
    }
    let unknown = catalog::write(&home, |s| s.complete_copy(&begun, "{}")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "it is complete without a size, a hash and a time"
    );
    let known = BackupCopy {
        version_id: Some("v".into()),
        size: Some(9),
        hash: Some("f".repeat(64)),
        storage_class: Some("GLACIER_IR".into()),
        locked_until: Some("2027-11-24T08:00:00.000001Z".parse().unwrap()),
        ..begun.clone()
    };
    let complete = catalog::write(&home, |s| s.complete_copy(&known, "{}")).unwrap();
    assert_eq!(complete.status, CopyStatus::Complete);
    assert!(complete.copied_at.is_some());
    assert_eq!(complete.parts_hash, begun.parts_hash);
    assert_eq!(copies_of(&home, a.id), std::slice::from_ref(&complete));

    // Others are others: another location, another backup.
    catalog::write(&home, |s| {
        s.begin_copy(&copy(&a, "nas"))?;
        s.begin_copy(&copy(&b, "offsite"))?;
        s.fail_copies("offsite", &[b.id])?;
        s.checked_copies("offsite", &[a.id])
    })
    .unwrap();
    let of_a = copies_of(&home, a.id);
    assert_eq!(of_a.len(), 2);
    let (nas, offsite) = (&of_a[0], &of_a[1]);
    assert_eq!((nas.location.as_str(), nas.checked_at), ("nas", None));
    assert!(offsite.checked_at >= complete.copied_at);
    assert_eq!(copies_of(&home, b.id)[0].status, CopyStatus::Failed);

    // What is begun anew is no copy yet, and what was there stays known.
    catalog::write(&home, |s| s.begin_copy(offsite)).unwrap();
    let again = &copies_of(&home, a.id)[1];
    assert_eq!(again.status, CopyStatus::Copying);
    assert_eq!(
        (again.copied_at, again.checked_at),
        (complete.copied_at, None)
    );
}

#[test]
fn a_copy_outlives_the_record_until_it_is_forgotten() {
    let (_dir, home, [a, b]) = home();
    catalog::write(&home, |s| {
        s.begin_copy(&copy(&a, "offsite"))?;
        s.begin_copy(&copy(&b, "offsite"))?;
        s.remove(&[a.id])
    })
    .unwrap();
    assert_eq!(copies_of(&home, a.id), [copy(&a, "offsite")]);
    let at = |location: &str| {
        let all = catalog::read(&home, |s| s.copies_at(location)).unwrap();
        let names = all.into_iter().map(|it| it.unwrap().backup_name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(at("offsite"), ["a", "b"]);
    assert_eq!(at("nas"), [""; 0]);
    catalog::write(&home, |s| s.forget_copies("nas", &[a.id])).unwrap();
    assert_eq!(at("offsite"), ["a", "b"]);
    catalog::write(&home, |s| s.forget_copies("offsite", &[a.id])).unwrap();
    assert_eq!(at("offsite"), ["b"]);
}

#[test]
fn the_record_beside_a_copy_is_kept_through_all_that_becomes_of_it() {
    let (_dir, home, [a, b]) = home();
    let known = |of: &Backup| BackupCopy {
        size: Some(9),
        hash: Some("f".repeat(64)),
        ..copy(of, "offsite")
    };
    let held = || catalog::read(&home, |s| s.held_at("offsite")).unwrap();
    let complete = catalog::write(&home, |s| {
        s.begin_copy(&known(&b))?;
        s.complete_copy(&known(&a), "of a")
    });
    let complete = complete.unwrap();
    assert_eq!(held(), ["of a"]);
    catalog::write(&home, |s| s.fail_copies("offsite", &[a.id])).unwrap();
    assert_eq!(held(), [""; 0]);
    catalog::write(&home, |s| s.begin_copy(&complete)).unwrap();
    assert_eq!(held(), [""; 0]);
    catalog::write(&home, |s| {
        s.restore_copy(&complete)?;
        s.remove(&[a.id])
    })
    .unwrap();
    assert_eq!(held(), ["of a"]);
    let adopted = BackupCopy {
        backup_id: b.id,
        ..complete
    };
    catalog::write(&home, |s| s.adopt_copy(&adopted, "of b")).unwrap();
    assert_eq!(held(), ["of a", "of b"]);
    catalog::write(&home, |s| s.forget_copies("offsite", &[a.id])).unwrap();
    assert_eq!(held(), ["of b"]);
}

#[test]
fn a_location_is_a_setting_of_its_own() {
    let (_dir, home, _) = home();
    let error = catalog::write(&home, |s| s.set_location("a:b", "{}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid location 'a:b': use letters, digits, '.', '_' and '-'"
    );
    catalog::write(&home, |s| {
        s.set_location("offsite", "1")?;
        s.set_location("nas", "2")?;
        s.set_location("offsite", "3")
    })
    .unwrap();
    let known = || catalog::read(&home, |s| s.locations()).unwrap();
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(known(), [pair("nas", "2"), pair("offsite", "3")]);
    catalog::write(&home, |s| s.unset_location("nas")).unwrap();
    assert_eq!(known(), [pair("offsite", "3")]);
}
