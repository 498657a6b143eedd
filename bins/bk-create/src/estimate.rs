//! The estimate of a backup: a view of its plan, for `--estimate` and for the check of the space.
//!
//! Changes nothing, and reads no source.

use anyhow::{Result, ensure};
use bk_cli::units::human_size;
use serde_json::{Value, json};

use crate::plan::Plan;

/// The estimate as a line, with the keys of the request that bk-create does not know.
pub(crate) fn line(plan: &Plan<'_>) -> Value {
    let mut line = json!({
        "sources": plan.sources.recorded,
        "file_count": plan.totals.file_count,
        "content_bytes": plan.totals.content_bytes,
        "estimated_size": plan.archive_bytes,
        "estimated_new": plan.new_bytes,
        "estimated_from": if plan.has_earlier { "earlier backup" } else { "sample" },
        "storage": plan.storage,
        "available_bytes": plan.available_bytes,
        "reserve_bytes": plan.reserve_bytes,
        "fits": fits(plan),
    });
    for (key, value) in &plan.request.passed {
        if line.get(key).is_none() {
            line[key] = value.clone();
        }
    }
    line
}

/// The estimate as people read it.
pub(crate) fn text(plan: &Plan<'_>) -> String {
    format!(
        "files      {}\ncontent    {}\narchive    about {}{} (from {})\nstorage    {}\nfree       {}, of which {} are to stay so\nfits       {}\n",
        plan.totals.file_count,
        human_size(plan.totals.content_bytes),
        human_size(plan.archive_bytes),
        plan.new_bytes.map_or_else(String::new, |bytes| {
            format!(", of which {} are new", human_size(bytes))
        }),
        if plan.has_earlier {
            "an earlier backup"
        } else {
            "a sample of the data"
        },
        plan.storage,
        available(plan),
        human_size(plan.reserve_bytes),
        if fits(plan) { "yes" } else { "no" },
    )
}

/// # Errors
/// An archive that does not fit, with both figures.
pub(crate) fn check_fits(plan: &Plan<'_>) -> Result<()> {
    ensure!(
        fits(plan),
        "cannot back up: the archive needs about {} and {} are to stay free, but '{}' has {} free; make space, or name another --storage",
        human_size(needed(plan)),
        human_size(plan.reserve_bytes),
        plan.storage,
        available(plan)
    );
    Ok(())
}

fn fits(plan: &Plan<'_>) -> bool {
    let needed_bytes = needed(plan).saturating_add(plan.reserve_bytes);
    plan.available_bytes.is_none_or(|it| needed_bytes <= it)
}

/// The space that the archive takes: it shares the rest with its parent.
fn needed(plan: &Plan<'_>) -> u64 {
    plan.new_bytes.unwrap_or(plan.archive_bytes)
}

fn available(plan: &Plan<'_>) -> String {
    let size = plan.available_bytes.map(human_size);
    size.unwrap_or_else(|| "an unknown size".to_owned())
}
