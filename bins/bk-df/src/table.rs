//! The summaries for people: a table, then a bar for each file system.
//!
//! Of the terminal it knows the width alone.

use anyhow::Result;
use bk_cli::output::Output;
use bk_cli::table::{Cell, Column, Tone};
use bk_cli::units::human_size;
use bk_schema::visible::visible;

use crate::bar::{self, PARTS};
use crate::summary::{Brief, Summary};

/// The width without a terminal.
const COLUMNS: usize = 80;
/// A narrower bar would be useless.
const COLUMNS_MIN: usize = 20;

const FILE_SYSTEMS: [Column; 10] = [
    Column::Left("MOUNT"),
    Column::Right("BACKUPS"),
    Column::Right("SIZE"),
    Column::Right("EXPIRED"),
    Column::Right("MISSING"),
    Column::Right("FAILED"),
    Column::Right("PROBLEMS"),
    Column::Right("FREE"),
    Column::Right("A DAY"),
    Column::Right("DAYS"),
];

/// Prints all summaries.
pub(crate) fn print(output: &mut Output, summaries: &[Summary]) -> Result<()> {
    let rows: Vec<_> = summaries.iter().map(row).collect();
    output.table(&FILE_SYSTEMS, &rows)?;
    let width = columns_of_terminal();
    for summary in summaries.iter().filter(|it| !it.total) {
        let text = picture(output, summary, width);
        output.text(&text)?;
    }
    output.flush()
}

fn row(summary: &Summary) -> Vec<Cell> {
    let or_dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
    let bad = |count: u64| {
        let tone = if count > 0 { Tone::Bad } else { Tone::Plain };
        Cell::new(count.to_string(), tone)
    };
    let failed = summary.by_status.get(&bk_schema::record::Status::Failed);
    let growth = summary.growth_bytes_per_day.expected();
    vec![
        summary.label().to_owned().into(),
        summary.backup_count.to_string().into(),
        human_size(summary.backup_bytes).into(),
        human_size(summary.expired_bytes).into(),
        bad(summary.missing_count),
        bad(failed.map_or(0, |it| it.count)),
        bad(summary.problem_count),
        or_dash(summary.free_bytes.map(human_size)),
        or_dash(growth.map(signed_size)),
        or_dash(summary.days_left.map(|days| format!("{days:.0}"))),
    ]
}

fn signed_size(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", human_size(bytes.unsigned_abs()))
}

/// The name, the bar as wide as the terminal, its legend, and the notable backups.
fn picture(output: &Output, summary: &Summary, width: usize) -> String {
    let mut text = format!(
        "\n{}\n",
        output.painted(&visible(summary.label()), Tone::Head)
    );
    match bar::parts(summary) {
        None if summary.mountpoint.is_some() => text.push_str("does not report its space\n"),
        None => text.push_str("cannot be accessed\n"),
        Some(parts) => {
            let cells = bar::widths(parts, width.saturating_sub(2));
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
            text.push_str(&format!("[{bar}]\n{}\n", legend.join("  ")));
        }
    }
    let next = summary.next_backup_bytes.map(human_size);
    let lines = [
        ("newest", summary.newest.as_ref().map(of_time)),
        ("oldest", summary.oldest.as_ref().map(of_time)),
        ("largest", summary.largest.as_ref().map(of_size)),
        ("next", next.map(|size| format!("about {size}"))),
    ];
    for (name, told) in lines {
        if let Some(told) = told {
            text.push_str(&format!("{name:8} {told}\n"));
        }
    }
    text
}

fn of_time(brief: &Brief) -> String {
    let local = brief.created_at.to_zoned(bk_cli::zone::local());
    let time = local.strftime("%Y-%m-%d %H:%M:%S");
    format!("{time}  {}", visible(&brief.backup_name))
}

fn of_size(brief: &Brief) -> String {
    let size = human_size(brief.backup_size);
    format!("{size}  {}", visible(&brief.backup_name))
}

fn columns_of_terminal() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let columns = size.map_or(0, |it| usize::from(it.ws_col));
    let known = if columns == 0 { COLUMNS } else { columns };
    known.max(COLUMNS_MIN)
}
