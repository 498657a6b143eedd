//! Finds for people: by path, the newest first.
//!
//! Knows no manifest.

use anyhow::Result;
use bk_cli::table::{Cell, Column};
use bk_cli::units::human_size;
use bk_cli::{Output, zone};
use bk_schema::manifest::Entry;
use bk_schema::record::Backup;
use jiff::tz::TimeZone;

use crate::versions::{Version, by_name};

pub(crate) fn finds(output: &mut Output, mut finds: Vec<(&Backup, Entry)>) -> Result<()> {
    by_name(&mut finds);
    let zone = zone::local();
    let row =
        |(backup, entry): &(&Backup, Entry)| row(entry, &zone, vec![backup.backup_name.clone()]);
    let rows: Vec<_> = finds.iter().map(row).collect();
    output.table(&[PATH, SIZE, CHANGED, Column::Left("BACKUP")], &rows)
}

pub(crate) fn versions(output: &mut Output, versions: &[Version<'_>]) -> Result<()> {
    let zone = zone::local();
    let row = |version: &Version<'_>| {
        let backups = [version.first, version.last].map(|it| it.backup_name.clone());
        row(&version.entry, &zone, backups.into())
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    let columns = [
        PATH,
        SIZE,
        CHANGED,
        Column::Left("FIRST"),
        Column::Left("LAST"),
    ];
    output.table(&columns, &rows)
}

const PATH: Column = Column::Left("PATH");
const SIZE: Column = Column::Right("SIZE");
const CHANGED: Column = Column::Left("CHANGED");

fn row(entry: &Entry, zone: &TimeZone, backups: Vec<String>) -> Vec<Cell> {
    let time = entry.mtime.timestamp().map(|time| {
        let local = time.to_zoned(zone.clone());
        local.strftime("%Y-%m-%d %H:%M").to_string()
    });
    let mut row = vec![
        Cell::from(String::from_utf8_lossy(&entry.path).into_owned()),
        Cell::from(human_size(entry.size)),
        Cell::or_dash(time),
    ];
    row.extend(backups.into_iter().map(Cell::from));
    row
}
