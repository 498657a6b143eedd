//! Prints rows of the ledger, or statistics, as JSON lines or as a table.
//!
//! Knows no catalog.

use anyhow::Result;
use bk_cli::table::Table;
use bk_cli::units::human_size;
use bk_cli::{Cell, Column, Cut, Output, Tone};
use bk_schema::event::LedgerRow;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::flags::PROGRAM;
use crate::ledger::Page;
use crate::statistics::Row;

const EVENT_COLUMNS: [Column; 7] = [
    Column::left("TIME"),
    Column::left("PROGRAM").leaves(2),
    Column::left("EVENT"),
    Column::left("OUTCOME"),
    Column::left("BACKUP").cut(Cut::Middle, 12),
    Column::left("JOB").cut(Cut::Middle, 8).leaves(1),
    Column::left("DETAILS").cut(Cut::End, 20),
];

const COUNT_COLUMNS: [Column; 9] = [
    Column::left("PERIOD"),
    Column::left("EVENT"),
    Column::right("OK"),
    Column::right("FAILED"),
    Column::right("RATE").leaves(4),
    Column::right("TIME").leaves(3),
    Column::right("SIZE").leaves(2),
    Column::right("TOTAL").leaves(1),
    Column::right("NEW").leaves(1),
];

/// Prints pages, as JSON lines or as one table.
pub(crate) struct Report<'a> {
    pub(crate) output: &'a mut Output,
    /// The exit status so far.
    pub(crate) status: u8,
    table: Table,
    zone: TimeZone,
    is_empty: bool,
}

impl<'a> Report<'a> {
    pub(crate) fn new(output: &'a mut Output) -> Self {
        Self {
            output,
            status: bk_cli::SUCCESS,
            table: Table::new(&EVENT_COLUMNS),
            zone: bk_cli::zone::local(),
            is_empty: true,
        }
    }

    /// Prints a page and flushes it; stops if the pipe is closed.
    pub(crate) fn page(&mut self, page: Page) -> Result<()> {
        let mut rows = Vec::new();
        for row in page {
            if self.output.is_closed() {
                return Ok(());
            }
            match row {
                Ok(entry) if self.output.is_table() => rows.push(self.row(&entry)),
                Ok(entry) => self.output.line(&entry)?,
                Err(bad) => self.status = PROGRAM.report(&bad.into()),
            }
        }
        if !rows.is_empty() {
            self.is_empty = false;
            self.output.rows(&mut self.table, &rows)?;
        }
        self.output.flush()
    }

    /// Says so if the table would be empty.
    pub(crate) fn end(&self) {
        if self.output.is_table() && self.is_empty {
            PROGRAM.warn("no matching events");
        }
    }

    fn row(&self, entry: &LedgerRow) -> Vec<Cell> {
        let time = entry.happened_at.to_zoned(self.zone.clone());
        let id = entry.backup_id.map(|id| id.to_string());
        let tone = if entry.outcome == "ok" {
            Tone::Plain
        } else {
            Tone::Bad
        };
        vec![
            time.strftime("%Y-%m-%d %H:%M:%S").to_string().into(),
            entry.program.clone().into(),
            entry.event.clone().into(),
            Cell::new(&entry.outcome, tone),
            Cell::or_dash(entry.backup_name.clone().or(id)),
            Cell::or_dash(text(&entry.details, "job").map(str::to_owned)),
            summary(&entry.details).into(),
        ]
    }
}

fn text<'a>(details: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    details.get(key).and_then(Value::as_str)
}

/// The details in a few words: the reason of a failure, else what was wrong, what, where, how much and
/// how long.
fn summary(details: &Map<String, Value>) -> String {
    let text = |key| text(details, key);
    let problem = details.get("problems").and_then(|it| it.get(0));
    let reason = text("reason").or(problem.and_then(|it| it.get("reason")?.as_str()));
    if let Some(reason) = reason {
        return reason.to_owned();
    }
    let size = |key| details.get(key).and_then(Value::as_u64).map(human_size);
    let place = |word, key| text(key).map(|path| format!("{word} {path}"));
    let changed = details.get("new").and_then(Value::as_object).map(|new| {
        let keys: Vec<_> = new.keys().map(String::as_str).collect();
        keys.join(", ")
    });
    let list = |key| {
        let all = details.get(key)?.as_array()?.iter();
        let all: Vec<_> = all.filter_map(Value::as_str).collect();
        Some(all.join(", "))
    };
    let seconds = details.get("seconds").and_then(Value::as_f64);
    let parts = [
        // Why bk-prune removed it.
        list("reasons"),
        list("rules"),
        text("warning").map(str::to_owned),
        text("action").or(text("level")).map(str::to_owned),
        changed,
        place("to", "to")
            .or(place("to", "target"))
            .or(place("from", "from")),
        size("freed").map(|freed| format!("{freed} freed")),
        size("bytes"),
        seconds.map(|seconds| format!("{seconds:.1} s")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

/// Prints statistics, as JSON lines or as a table.
pub(crate) fn print_statistics(output: &mut Output, rows: &[Row]) -> Result<()> {
    if !output.is_table() {
        for row in rows {
            output.line(row)?;
        }
        return output.flush();
    }
    if rows.is_empty() {
        PROGRAM.warn("no matching events");
        return Ok(());
    }
    let rows: Vec<_> = rows.iter().map(count_row).collect();
    output.table(&COUNT_COLUMNS, &rows)?;
    output.flush()
}

fn count_row(row: &Row) -> Vec<Cell> {
    let tone = if row.failed == 0 {
        Tone::Plain
    } else {
        Tone::Bad
    };
    vec![
        row.period.clone().into(),
        row.event.clone().into(),
        row.ok.to_string().into(),
        Cell::new(row.failed.to_string(), tone),
        Cell::or_dash(row.success_rate.map(|rate| format!("{rate:.1} %"))),
        Cell::or_dash(row.median_seconds.map(|time| format!("{time:.1} s"))),
        Cell::or_dash(row.median_bytes.map(human_size)),
        Cell::or_dash(row.total_bytes.map(human_size)),
        Cell::or_dash(row.new_bytes.map(human_size)),
    ]
}
