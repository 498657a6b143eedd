//! The summaries for people: a table, one of the jobs, one of the locations, then a bar for each file
//! system.
//!
//! Of the terminal it knows the width alone.

use anyhow::Result;
use bk_cli::columns::Room;
use bk_cli::text::fit;
use bk_cli::units::human_size;
use bk_cli::{Cell, Column, Cut, Output, Tone};
use bk_schema::visible::visible;
use jiff::Timestamp;

use crate::jobs::JobLine;
use crate::locations::LocationLine;
use crate::summary::{Brief, Summary};

/// The width without a terminal.
const COLUMNS: usize = 80;
/// A narrower bar would be useless.
const COLUMNS_MIN: usize = 20;

/// The legend takes no more in one line.
const LEGEND_WIDTH: usize = 80;

/// The parts of a bar, from the left: they differ by their characters, not only by colour.
const PARTS: [(char, &str, Tone); 4] = [
    ('#', "backups", Tone::Head),
    ('+', "others", Tone::Plain),
    ('.', "free", Tone::Good),
    ('!', "reserve", Tone::Warn),
];

const FILE_SYSTEMS: [Column; 11] = [
    Column::left("MOUNT").cut(Cut::Middle, 10),
    Column::right("BACKUPS"),
    Column::right("SIZE"),
    Column::right("EXPIRED").leaves(5),
    Column::right("MISSING").leaves(1),
    REMOTE,
    Column::right("FAILED").leaves(2),
    Column::right("PROBLEMS").leaves(2),
    Column::right("FREE"),
    Column::right("A DAY").leaves(4),
    Column::right("DAYS").leaves(3),
];

/// Only where there are some.
const REMOTE: Column = Column::right("REMOTE").leaves(1);

const JOBS: [Column; 9] = [
    Column::left("JOB").cut(Cut::Middle, 8),
    Column::left("ENABLED").leaves(4),
    Column::left("SUCCESS").cut(Cut::Plain, 10),
    Column::left("OUTCOME"),
    Column::left("REASON").cut(Cut::End, 20).leaves(1),
    Column::left("NEWEST").cut(Cut::Middle, 10).leaves(2),
    Column::right("SIZE"),
    Column::right("CHANGE"),
    Column::left("DUE").cut(Cut::Plain, 10).leaves(3),
];

const LOCATIONS: [Column; 6] = [
    Column::left("LOCATION").cut(Cut::Middle, 8),
    Column::right("COPIES"),
    Column::right("SIZE"),
    Column::right("UNCOPIED"),
    Column::left("NEWEST").cut(Cut::Middle, 10).leaves(1),
    Column::left("COPIED").cut(Cut::Plain, 10),
];

/// Prints all summaries, jobs and locations.
pub(crate) fn print(
    output: &mut Output,
    summaries: &[Summary],
    jobs: &[JobLine],
    locations: &[LocationLine],
) -> Result<()> {
    let mut rows: Vec<_> = summaries.iter().map(row).collect();
    let mut columns = FILE_SYSTEMS.to_vec();
    if let Some(at) = columns.iter().position(|it| *it == REMOTE)
        && summaries.iter().all(|it| it.remote_count == 0)
    {
        columns.remove(at);
        for row in &mut rows {
            row.remove(at);
        }
    }
    output.table(&columns, &rows)?;
    if !jobs.is_empty() {
        let rows: Vec<_> = jobs.iter().map(job_row).collect();
        output.text("\n")?;
        output.table(&JOBS, &rows)?;
    }
    if !locations.is_empty() {
        let rows: Vec<_> = locations.iter().map(location_row).collect();
        output.text("\n")?;
        output.table(&LOCATIONS, &rows)?;
    }
    let terminal = match output.room() {
        Room::Terminal(width) => Some(width),
        Room::Enough | Room::Wide => None,
    };
    for summary in summaries.iter().filter(|it| !it.total) {
        let text = picture(output, summary, terminal);
        output.text(&text)?;
    }
    output.flush()
}

fn row(summary: &Summary) -> Vec<Cell> {
    // None is no news: a column of it leaves first.
    let bad = |count| count_cell(count, Tone::Bad);
    let expired = Some(summary.expired_bytes).filter(|bytes| *bytes > 0);
    let failed = summary.by_status.get(&bk_schema::record::Status::Failed);
    let growth = summary.growth_bytes_per_day.expected();
    vec![
        summary.label().to_owned().into(),
        summary.backup_count.to_string().into(),
        human_size(summary.backup_bytes).into(),
        Cell::or_dash(expired.map(human_size)),
        bad(summary.missing_count),
        count_cell(summary.remote_count, Tone::Plain),
        bad(failed.map_or(0, |it| it.count)),
        bad(summary.problem_count),
        Cell::or_dash(summary.free_bytes.map(human_size)),
        Cell::or_dash(growth.map(signed_size)),
        Cell::or_dash(summary.days_left.map(|days| format!("{days:.0}"))),
    ]
}

fn location_row(location: &LocationLine) -> Vec<Cell> {
    let newest = location.newest.as_ref();
    vec![
        location.location.clone().into(),
        location.copy_count.to_string().into(),
        human_size(location.copy_bytes).into(),
        count_cell(location.uncopied_count, Tone::Warn),
        Cell::or_dash(newest.map(|it| it.backup_name.clone())),
        Cell::or_dash(newest.map(|it| local(it.copied_at, "%Y-%m-%d %H:%M"))),
    ]
}

/// A count of what should not be.
fn count_cell(count: u64, tone: Tone) -> Cell {
    match count {
        0 => Cell::from("-"),
        count => Cell::new(count.to_string(), tone),
    }
}

fn job_row(job: &JobLine) -> Vec<Cell> {
    let tone = |is_wrong, tone| if is_wrong { tone } else { Tone::Plain };
    let time = |time: Option<Timestamp>| time.map(|time| local(time, "%Y-%m-%d %H:%M"));
    let enabled = if job.enabled { "yes" } else { "no" };
    let outcome = match &job.settings_error {
        Some(_) => "cannot run",
        None => job.last_outcome.as_deref().unwrap_or("-"),
    };
    // Why it failed, else what was wrong with it all the same.
    let reason = job.failure().or(job.last_warning.as_deref());
    let is_due = job.due_since.is_some();
    let change = job.content_change_percent;
    vec![
        job.job.clone().into(),
        Cell::new(enabled, tone(!job.enabled, Tone::Warn)),
        Cell::or_dash(time(job.last_success)),
        Cell::new(outcome, tone(job.failure().is_some(), Tone::Bad)),
        Cell::or_dash(reason.map(str::to_owned)),
        Cell::or_dash(job.newest.as_ref().map(|it| it.backup_name.clone())),
        Cell::or_dash(job.content_bytes.map(human_size)),
        Cell::or_dash(change.map(|percent| format!("{percent:+.0} %"))),
        Cell {
            tone: tone(is_due, Tone::Warn),
            ..Cell::or_dash(time(job.due_since.or(job.next_due)))
        },
    ]
}

fn local(time: Timestamp, format: &str) -> String {
    let local = time.to_zoned(bk_cli::zone::local());
    local.strftime(format).to_string()
}

fn signed_size(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", human_size(bytes.unsigned_abs()))
}

/// The name, the bar as wide as the terminal, its legend, and the notable backups.
fn picture(output: &Output, summary: &Summary, terminal: Option<usize>) -> String {
    let width = terminal.unwrap_or(COLUMNS).max(COLUMNS_MIN);
    let mut text = format!(
        "\n{}\n",
        output.painted(&visible(summary.label()), Tone::Head)
    );
    match parts(summary) {
        None if summary.mountpoint.is_some() => text.push_str("does not report its space\n"),
        None => text.push_str("cannot be accessed\n"),
        Some(parts) => {
            let cells = widths(parts, width.saturating_sub(2));
            let paint = |((part, _, tone), count): (&(char, &str, Tone), usize)| {
                let cells = part.to_string().repeat(count);
                output.painted(&cells, if count > 0 { *tone } else { Tone::Plain })
            };
            let bar: String = PARTS.iter().zip(cells).map(paint).collect();
            let named = |((part, name, tone), bytes): (&(char, &str, Tone), u64)| {
                let part = output.painted(&part.to_string(), *tone);
                format!("{part} {name} {}", human_size(bytes))
            };
            let legend: Vec<_> = PARTS.iter().zip(parts).map(named).collect();
            let at_once = if width < LEGEND_WIDTH { 2 } else { PARTS.len() };
            text.push_str(&format!("[{bar}]\n"));
            for part in legend.chunks(at_once) {
                text.push_str(&format!("{}\n", part.join("  ")));
            }
        }
    }
    let next = summary.next_backup_bytes.map(human_size);
    let lines = [
        ("newest", summary.newest.as_ref().map(of_time)),
        ("oldest", summary.oldest.as_ref().map(of_time)),
        ("largest", summary.largest.as_ref().map(of_size)),
        ("next", next.map(|size| format!("about {size}"))),
    ];
    for (name, shown) in lines {
        if let Some(shown) = shown {
            let line = format!("{name:8} {shown}");
            let line = terminal.map_or(line.clone(), |width| fit(&line, width));
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

fn of_time(brief: &Brief) -> String {
    let time = local(brief.created_at, "%Y-%m-%d %H:%M:%S");
    format!("{time}  {}", visible(&brief.backup_name))
}

fn of_size(brief: &Brief) -> String {
    let size = human_size(brief.backup_size);
    format!("{size}  {}", visible(&brief.backup_name))
}

/// The bytes of each part; `None` if the space is not known.
fn parts(summary: &Summary) -> Option<[u64; 4]> {
    let (size, free) = (summary.size_bytes?, summary.free_bytes?);
    let used = size.saturating_sub(free);
    // The backups' sizes may exceed the used space: files with holes take less than their size.
    let backups = summary.backup_bytes.min(used);
    let reserve = summary.reserve_bytes?.min(free);
    Some([backups, used - backups, free - reserve, reserve])
}

/// The cells of each part, `width` in total. A part that is not empty gets at least one, unless
/// that would take the last one of another part.
fn widths(parts: [u64; 4], width: usize) -> [usize; 4] {
    let total: u128 = parts.iter().map(|it| u128::from(*it)).sum();
    if total == 0 {
        return [0, 0, width, 0];
    }
    let (mut sum, mut edge) = (0, 0);
    let mut cells = parts.map(|part| {
        sum += u128::from(part);
        // No more than `width`, as the sum is no more than the total.
        let next = ((sum * width as u128 + total / 2) / total) as usize;
        next - std::mem::replace(&mut edge, next)
    });
    for at in 0..cells.len() {
        let widest = (0..cells.len()).max_by_key(|at| cells[*at]).unwrap_or(at);
        if parts[at] > 0 && cells[at] == 0 && cells[widest] > 1 {
            cells[widest] -= 1;
            cells[at] = 1;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bar_is_drawn_to_scale() {
        assert_eq!(widths([25, 25, 40, 10], 20), [5, 5, 8, 2]);
        assert_eq!(widths([0, 0, 0, 0], 20), [0, 0, 20, 0]);
        assert_eq!(widths([1, 0, 1 << 50, 1], 10), [1, 0, 8, 1]);
        assert_eq!(widths([u64::MAX; 4], 8), [2, 2, 2, 2]);
    }

    proptest! {
        #[test]
        fn a_bar_has_never_a_wrong_width(
            parts in prop::array::uniform4(prop_oneof![Just(0), 0..5u64, any::<u64>()]),
            width in 0..300usize
        ) {
            let cells = widths(parts, width);
            prop_assert_eq!(cells.iter().sum::<usize>(), width);
            let is_some = parts.iter().any(|it| *it > 0);
            for (part, cells) in parts.iter().zip(cells) {
                prop_assert!(*part > 0 || cells == 0 || !is_some);
                prop_assert!(*part == 0 || cells > 0 || width < 7);
            }
        }
    }
}
