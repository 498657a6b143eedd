//! Which columns the list has and how wide they are, from the width of the screen and their content.
//!
//! A pure function; knows no screen.

use bk_schema::visible::visible;

use crate::cells::{Candidate, Field};
use crate::text::width_of;

/// The width of the cursor and the mark, before the columns.
pub(crate) const MARKS_WIDTH: usize = 2;

/// The name gets this width before any other column.
const NAME_MIN: usize = 10;
/// The name gets this width before the columns that only wide screens show.
const NAME_GOOD: usize = 32;
/// Longer names are always cut.
const NAME_MAX: usize = 64;
const VERSION_MAX: usize = 8;
const DESCRIPTION_MIN: usize = 16;

/// The columns in display order, with their headers.
const ORDER: [(Field, &str); 13] = [
    (Field::Date, "DATE"),
    (Field::Time, "DATE"),
    (Field::Age, "AGE"),
    (Field::Type, "TYPE"),
    (Field::Version, "VERSION"),
    (Field::Size, "SIZE"),
    (Field::Status, "STATUS"),
    (Field::Protected, "PROT"),
    (Field::Verified, "CHECKED"),
    (Field::Name, "NAME"),
    (Field::Files, "FILES"),
    (Field::Expires, "EXPIRES"),
    (Field::Description, "DESCRIPTION"),
];

/// The columns in the order of their importance.
const FIRST: [(Field, usize); 8] = [
    (Field::Date, 10),
    (Field::Status, 9),
    (Field::Size, 8),
    (Field::Type, 0),
    (Field::Verified, 7),
    (Field::Protected, 4),
    (Field::Age, 3),
    (Field::Version, 0),
];

/// The widths of the content, over the whole list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Widths {
    name: usize,
    version: usize,
    kind: usize,
    has_description: bool,
}

impl Widths {
    pub(crate) fn of(items: &[Candidate]) -> Self {
        let mut widths = Self::default();
        for item in items {
            let backup = &item.listed.backup;
            let version = backup.source_version.as_deref();
            let version = version.map_or(1, |text| width_of(&visible(text)));
            widths.name = widths.name.max(width_of(&backup.backup_name));
            widths.version = widths.version.max(version);
            widths.kind = widths.kind.max(backup.backup_type.name().len());
            widths.has_description |= backup.description.is_some();
        }
        widths
    }
}

/// A column that fits on the screen, with its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FittedColumn {
    pub(crate) field: Field,
    pub(crate) title: &'static str,
    pub(crate) width: usize,
}

impl FittedColumn {
    /// Whether its text is aligned to the right.
    pub(crate) fn is_right(&self) -> bool {
        matches!(self.field, Field::Age | Field::Size | Field::Files)
    }
}

/// The columns that fit on the screen, separated by spaces.
pub(crate) fn fitting(screen_width: usize, widths: &Widths) -> Vec<FittedColumn> {
    let longest = widths.name.clamp(4, NAME_MAX);
    let mut room = Room {
        left: screen_width.saturating_sub(MARKS_WIDTH),
        taken: Vec::new(),
    };
    let mut name = room.left.min(longest.min(NAME_MIN));
    room.left -= name;
    for (field, width) in FIRST {
        let width = match field {
            Field::Type => widths.kind.max(4),
            // The name needs the room more than a column of dashes.
            Field::Version if widths.version <= 1 => continue,
            Field::Version => widths.version.clamp(7, VERSION_MAX),
            _ => width,
        };
        if !room.take(field, width) {
            break;
        }
    }
    name += room.grow(longest.min(NAME_GOOD) - name.min(longest));
    if let Some(date) = room.taken.iter_mut().find(|(it, _)| *it == Field::Date)
        && room.left >= 6
    {
        *date = (Field::Time, date.1 + 6);
        room.left -= 6;
    }
    name += room.grow(longest - name.min(longest));
    room.take(Field::Expires, 7);
    room.take(Field::Files, 9);
    if widths.has_description && room.left > DESCRIPTION_MIN {
        room.take(Field::Description, room.left - 1);
    }
    room.taken.push((Field::Name, name));
    let placed = ORDER.into_iter().filter_map(|(field, title)| {
        let (_, width) = *room.taken.iter().find(|(taken, _)| *taken == field)?;
        Some(FittedColumn {
            field,
            title,
            width,
        })
    });
    placed.collect()
}

struct Room {
    left: usize,
    taken: Vec<(Field, usize)>,
}

impl Room {
    /// Adds the column and a space if they fit.
    fn take(&mut self, field: Field, width: usize) -> bool {
        let fits = self.left > width;
        if fits {
            self.left -= width + 1;
            self.taken.push((field, width));
        }
        fits
    }

    fn grow(&mut self, wanted: usize) -> usize {
        let more = wanted.min(self.left);
        self.left -= more;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDE: Widths = Widths {
        name: 26,
        version: 8,
        kind: 11,
        has_description: true,
    };

    fn titles(width: usize, widths: &Widths) -> String {
        let placed = fitting(width, widths);
        let titles: Vec<_> = placed.iter().map(|it| it.title).collect();
        titles.join(" ")
    }

    #[test]
    fn at_80_columns_all_that_counts_is_there() {
        let all = "DATE AGE TYPE VERSION SIZE STATUS PROT CHECKED NAME";
        assert_eq!(titles(80, &WIDE), all);
        let short = Widths {
            version: 1,
            kind: 6,
            ..WIDE
        };
        assert_eq!(
            titles(80, &short),
            "DATE AGE TYPE SIZE STATUS PROT CHECKED NAME"
        );
    }

    #[test]
    fn a_wider_screen_shows_more_and_a_narrow_one_the_name() {
        assert_eq!(
            titles(150, &WIDE),
            "DATE AGE TYPE VERSION SIZE STATUS PROT CHECKED NAME FILES EXPIRES DESCRIPTION"
        );
        assert!(fitting(150, &WIDE).iter().any(|it| it.field == Field::Time));
        assert_eq!(titles(40, &WIDE), "DATE STATUS NAME");
        assert_eq!(titles(12, &WIDE), "NAME");
        assert_eq!(fitting(1, &WIDE)[0].width, 0);
    }

    proptest! {
        #[test]
        fn columns_never_take_more_than_there_is(
            width in 0usize..400, name in 0usize..300, version in 0usize..300,
            kind in 0usize..20, has_description: bool
        ) {
            let widths = Widths { name, version, kind, has_description };
            let placed = fitting(width, &widths);
            let taken: usize = placed.iter().map(|it| it.width + 1).sum();
            prop_assert!(taken <= width.saturating_sub(MARKS_WIDTH) + 1, "{placed:?}");
            prop_assert!(placed.iter().any(|it| it.field == Field::Name));
        }
    }
}
