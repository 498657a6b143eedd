//! Prints what the ledger has, page after page, or counts it.
//!
//! The catalog is closed while anything is printed. There is nothing to tidy, so that a signal
//! ends it as it ends any program.

use anyhow::Result;
use bk_cli::home;
use bk_cli::operands::{self, Without};
use bk_cli::output::Output;
use bk_cli::period::Period;
use bk_cli::unread;
use bk_cli::{Arguments, UsageError};
use bk_schema::clock;
use bk_schema::record::parse_in;

use crate::flags::{FOLLOW, PROGRAM, STATS};
use crate::follow::{self, Stamp};
use crate::ledger::{self, Ledger, Page};
use crate::report::{self, Report};
use crate::statistics::Statistics;
use crate::wanted;

const PERIODS: [(&str, Period); 3] = [
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
];

/// The whole program.
///
/// # Errors
/// Mistakes on the command line, bad input, a catalog that cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let now = clock::now();
    let home = home::from_arguments(&PROGRAM, arguments, now)?;
    let mut output = Output::new(arguments)?;
    let wanted = wanted::from_flags(arguments, now)?;
    let period = arguments.parsed(&STATS, |text| parse_in(&PERIODS, text, "period"))?;
    let is_follower = arguments.has(&FOLLOW);
    if is_follower && arguments.has(&STATS) {
        return Err(UsageError("--follow and --stats exclude each other".into()).into());
    }
    let backups = operands::given(arguments, Without::Catalog)?;
    if backups.is_none() {
        unread::check_no_record("'bk-log -' reads them, </dev/null says that none are meant")?;
    }
    if backups.as_ref().is_some_and(Vec::is_empty) {
        return Ok(bk_cli::DONE);
    }

    let stamp = is_follower.then(|| Stamp::take(&home));
    let begun = Ledger::open(home, wanted, backups)?;
    let mut status = bk_cli::DONE;
    for error in begun.unknown {
        status = PROGRAM.report(&error);
    }
    let Some((ledger, page)) = begun.first else {
        return Ok(status);
    };
    let told = if arguments.has(&STATS) {
        count(ledger, page, period.unwrap_or(Period::Day), &mut output)?
    } else {
        list(ledger, page, stamp, &mut output)?
    };
    Ok(status.max(told))
}

/// Every page; then, with the stamp of a follower, what comes.
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
        page = if report.output.is_gone() {
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
    let mut status = bk_cli::DONE;
    loop {
        let is_full = ledger::is_full(&page);
        for row in page {
            match row {
                Ok(entry) => statistics.add(&entry),
                Err(bad) => status = PROGRAM.report(&bad.into()),
            }
        }
        if !is_full {
            break;
        }
        page = ledger.next()?;
    }
    report::print_statistics(output, &statistics.rows())?;
    Ok(status)
}
