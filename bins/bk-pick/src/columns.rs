//! Which columns the list has: from the width of the screen and what the backups have to show.
//!
//! A pure function; knows no screen.

use bk_cli::columns::{Column, Content, Cut, Room};
use jiff::Timestamp;

use crate::cells::{Candidate, Field};

/// The width of the cursor and the mark, before the columns.
pub(crate) const MARKS_WIDTH: usize = 2;

const ALL: [(Field, Column); 13] = [
    (
        Field::Time,
        Column::left("DATE").cut(Cut::Plain, 10).leaves(1),
    ),
    (Field::Age, Column::right("AGE").leaves(8)),
    (Field::Type, Column::left("TYPE").leaves(5)),
    (
        Field::Version,
        Column::left("VERSION").cut(Cut::End, 8).leaves(9),
    ),
    (Field::Size, Column::right("SIZE").leaves(3)),
    (Field::Status, Column::left("STATUS").leaves(2)),
    (Field::Protected, Column::left("PROT").leaves(7)),
    (Field::Verified, Column::left("CHECKED").leaves(6)),
    (
        Field::Source,
        Column::left("SOURCE").cut(Cut::Middle, 8).leaves(4),
    ),
    (Field::Name, Column::left("NAME").cut(Cut::Middle, 14)),
    (Field::Expires, Column::left("EXPIRES").extra()),
    (Field::Files, Column::right("FILES").extra()),
    (
        Field::Description,
        Column::left("DESCRIPTION").cut(Cut::End, 16).extra(),
    ),
];

/// What the columns have to show, over the whole list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Widths(Vec<Content>);

impl Widths {
    pub(crate) fn of(items: &[Candidate], now: Timestamp) -> Self {
        let mut contents: Vec<_> = ALL.iter().map(|(_, it)| Content::new(it)).collect();
        for item in items {
            for ((field, _), content) in ALL.iter().zip(&mut contents) {
                content.add(&item.cell(*field, now).text);
            }
        }
        Self(contents)
    }
}

/// A column that fits on the screen, with its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FittedColumn {
    pub(crate) field: Field,
    pub(crate) column: Column,
    pub(crate) width: usize,
}

/// The columns that fit on the screen, separated by spaces.
pub(crate) fn fitting(screen_width: usize, widths: &Widths) -> Vec<FittedColumn> {
    let room = Room::Terminal(screen_width.saturating_sub(MARKS_WIDTH));
    let columns = ALL.map(|(_, column)| column);
    let fitted = bk_cli::columns::fitting(&columns, &widths.0, room, 1);
    let with_field = fitted.into_iter().map(|it| {
        let (field, column) = ALL[it.at];
        FittedColumn {
            field,
            column,
            width: it.width,
        }
    });
    with_field.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::tests::{item, now};

    fn titles(width: usize, widths: &Widths) -> String {
        let placed = fitting(width, widths);
        let titles: Vec<_> = placed.iter().map(|it| it.column.title).collect();
        titles.join(" ")
    }

    fn widths(change: impl FnOnce(&mut bk_schema::record::Backup)) -> Widths {
        Widths::of(&[item(1, 1, change)], now())
    }

    #[test]
    fn a_wider_screen_shows_more_and_a_narrow_one_the_name() {
        let all = widths(|backup| {
            backup.backup_type = bk_schema::record::BackupType::PreUpgrade;
            backup.backup_name = "pre-upgrade_v2.3.1_app_2026-11-24_08-05-09".into();
            backup.description = Some("before the move to the other machine".into());
            backup.expires_at = Some(now());
            let sources = serde_json::json!(["/srv/shop/app"]);
            backup.backup_metadata.insert("sources".into(), sources);
        });
        for (width, shown) in [
            (80, "DATE AGE TYPE VERSION SIZE STATUS SOURCE NAME"),
            (
                220,
                "DATE AGE TYPE VERSION SIZE STATUS PROT CHECKED SOURCE NAME EXPIRES FILES DESCRIPTION",
            ),
            (60, "DATE SIZE STATUS SOURCE NAME"),
            (40, "DATE STATUS NAME"),
            (20, "NAME"),
        ] {
            assert_eq!(titles(width, &all), shown, "{width}");
        }
    }
}
