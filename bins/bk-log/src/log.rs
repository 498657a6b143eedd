//! Prints the ledger page by page, or statistics about it.
//!
//! The catalog is closed while anything is printed. There is nothing to clean up, so signals keep
//! their default action.

use anyhow::Result;
use bk_cli::period::Period;
use bk_cli::{Arguments, Flag, Output, operands, units, unread, usage};
use bk_schema::event::EVENTS;
use bk_schema::invalid::parse_choice;
use bk_store::Home;
use bk_store::history::Wanted;
use jiff::Timestamp;

use crate::flags::{EVENT, FOLLOW, JOB, LIMIT, OUTCOME, PROGRAM, SINCE, STATS, UNTIL};
use crate::follow::{self, Stamp};
use crate::ledger::{self, Ledger, Page};
use crate::report::{self, Report};
use crate::statistics::Statistics;

const OUTCOMES: [(&str, bool); 2] = [("ok", true), ("failed", false)];
const PERIODS: [(&str, Period); 3] = [
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
];

/// The whole program.
pub(crate) fn run(arguments: &Arguments, home: Home, mut output: Output) -> Result<u8> {
    let now = home.now;
    let wanted = wanted(arguments, now)?;
    let period = arguments.parsed(&STATS, |text| parse_choice(&PERIODS, text, "period"))?;
    let is_follower = arguments.has(&FOLLOW);
    arguments.one_of(&[(FOLLOW, ()), (STATS, ())])?;
    let backups = operands::read_or_all(arguments)?;
    if backups.is_none() {
        unread::check_no_record("use 'bk-log -' to read them, or </dev/null to ignore them")?;
    }
    if backups.as_ref().is_some_and(Vec::is_empty) {
        return Ok(bk_cli::SUCCESS);
    }

    let stamp = is_follower.then(|| Stamp::take(&home));
    let (first, unknown) = Ledger::open(home, wanted, backups)?;
    let mut status = bk_cli::SUCCESS;
    for error in unknown {
        status = PROGRAM.report(&error);
    }
    let Some((ledger, page)) = first else {
        return Ok(status);
    };
    let printed = if arguments.has(&STATS) {
        count(ledger, page, period.unwrap_or(Period::Day), &mut output)?
    } else {
        list(ledger, page, stamp, &mut output)?
    };
    Ok(status.max(printed))
}

/// Prints every page; with a stamp, also those that follow.
fn list(
    mut ledger: Ledger,
    mut page: Page,
    mut stamp: Option<Stamp>,
    output: &mut Output,
) -> Result<u8> {
    let mut report = Report::new(output);
    loop {
        let is_full = ledger::is_full(&page);
        report.page(page)?;
        page = if report.output.is_closed() {
            break;
        } else if is_full {
            ledger.next()?
        } else if let Some(last) = &mut stamp {
            match follow::next(&mut ledger, report.output, last)? {
                Some(page) => page,
                None => break,
            }
        } else {
            break;
        };
    }
    if stamp.is_none() {
        report.end();
    }
    Ok(report.status)
}

fn count(mut ledger: Ledger, mut page: Page, period: Period, output: &mut Output) -> Result<u8> {
    let mut statistics = Statistics::new(period, bk_cli::zone::local());
    let mut status = bk_cli::SUCCESS;
    loop {
        let is_full = ledger::is_full(&page);
        for entry in PROGRAM.report_errors(page, &mut status) {
            statistics.add(&entry);
        }
        if !is_full {
            break;
        }
        page = ledger.next()?;
    }
    report::print_statistics(output, &statistics.rows())?;
    Ok(status)
}

/// Which rows the flags select, but for the backups.
fn wanted(arguments: &Arguments, now: Timestamp) -> Result<Wanted> {
    let known = EVENTS.map(|event| (event, event));
    let events = words(arguments, &EVENT, |word| {
        parse_choice(&known, word, "event")
    })?;
    let outcomes = words(arguments, &OUTCOME, |word| {
        parse_choice(&OUTCOMES, word, "outcome")
    })?;
    // Both together select everything.
    let is_ok = outcomes.first().copied();
    Ok(Wanted {
        since: arguments.parsed(&SINCE, |text| units::parse_past(text, now))?,
        until: arguments.parsed(&UNTIL, |text| units::parse_past(text, now))?,
        events: events.into_iter().map(str::to_owned).collect(),
        is_ok: is_ok.filter(|first| outcomes.iter().all(|it| it == first)),
        job: arguments.text(&JOB)?.map(str::to_owned),
        limit: arguments.parsed(&LIMIT, units::parse_count)?,
        ..Wanted::default()
    })
}

/// The words of a list that commas separate, in a flag that may be repeated.
fn words<T>(
    arguments: &Arguments,
    flag: &Flag,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Vec<T>> {
    let texts = arguments.texts(flag)?;
    let words = texts.into_iter().flat_map(|text| text.split(','));
    let parse = |word: &str| parse(word.trim()).map_err(|e| usage(&e, &format!("--{}", flag.long)));
    words.map(parse).collect()
}
