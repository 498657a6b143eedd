//! Finds for people: beneath each path its backups, the newest first.
//!
//! Knows no manifest.

use anyhow::Result;
use bk_cli::listing::{NAME, SOURCE, source_cell, time};
use bk_cli::units::human_size;
use bk_cli::{Cell, Column, Cut, Output, zone};
use bk_schema::manifest::Entry;
use bk_schema::record::Backup;
use jiff::tz::TimeZone;

use crate::versions::{Version, by_name};

const SIZE: Column = Column::right("SIZE").leaves(1);
const CHANGED: Column = Column::left("CHANGED").cut(Cut::Plain, 16);

const COLUMNS: [Column; 6] = [
    Column::right("  ID"),
    Column::left("CREATED").cut(Cut::Plain, 16),
    SIZE,
    CHANGED,
    SOURCE,
    NAME,
];

const COLUMNS_OF_VERSIONS: [Column; 7] = [
    Column::right("  ID"),
    Column::left("LAST").cut(Cut::Plain, 16),
    Column::left("FIRST").cut(Cut::Plain, 16).leaves(2),
    Column::right("BACKUPS").leaves(3),
    SIZE,
    CHANGED,
    SOURCE,
];

/// A path, and the rows beneath it.
type Group = (String, Vec<Vec<Cell>>);

pub(crate) fn finds(output: &mut Output, mut finds: Vec<(&Backup, Entry)>) -> Result<()> {
    by_name(&mut finds);
    let zone = zone::local();
    let mut groups = Vec::new();
    for (backup, entry) in &finds {
        let row = vec![
            format!("  {}", backup.id).into(),
            time(backup.created_at, &zone).into(),
            human_size(entry.size).into(),
            changed(entry, &zone),
            source_cell(backup),
            backup.backup_name.clone().into(),
        ];
        add(&mut groups, entry, row);
    }
    output.groups(&COLUMNS, &groups)
}

pub(crate) fn versions(output: &mut Output, versions: &[Version<'_>]) -> Result<()> {
    let zone = zone::local();
    let mut groups = Vec::new();
    for version in versions {
        let row = vec![
            format!("  {}", version.last.id).into(),
            time(version.last.created_at, &zone).into(),
            time(version.first.created_at, &zone).into(),
            version.count.to_string().into(),
            human_size(version.entry.size).into(),
            changed(&version.entry, &zone),
            source_cell(version.last),
        ];
        add(&mut groups, &version.entry, row);
    }
    output.groups(&COLUMNS_OF_VERSIONS, &groups)
}

/// Adds a row to the group of the entry's path, which is the last one or a new one.
fn add(groups: &mut Vec<Group>, entry: &Entry, row: Vec<Cell>) {
    let path = String::from_utf8_lossy(&entry.path);
    match groups.last_mut() {
        Some((last, rows)) if *last == path => rows.push(row),
        _ => groups.push((path.into_owned(), vec![row])),
    }
}

fn changed(entry: &Entry, zone: &TimeZone) -> Cell {
    Cell::or_dash(entry.mtime.timestamp().map(|at| time(at, zone)))
}
