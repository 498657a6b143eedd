//! Which rows of the ledger to print, from the flags.
//!
//! Knows no catalog.

use anyhow::Result;
use bk_cli::units;
use bk_cli::{Arguments, Flag, usage};
use bk_schema::event::EVENTS;
use bk_schema::invalid::parse_choice;
use bk_store::history::Wanted;
use jiff::Timestamp;

use crate::flags::{EVENT, LIMIT, OUTCOME, SINCE, UNTIL};

const OUTCOMES: [(&str, bool); 2] = [("ok", true), ("failed", false)];

/// The conditions, but for the backups.
pub(crate) fn from_flags(arguments: &Arguments, now: Timestamp) -> Result<Wanted> {
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
