//! A test restoration: into a scratch directory, which is compared with the archive and removed.
//!
//! Knows no catalog.

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bk_archive::restore::compare::compare;
use bk_archive::restore::stage::{Stage, in_tree};

use crate::flags::warn;
use crate::outcome::Outcome;
use crate::work::Work;

/// So many differences are reported one by one.
const REPORTED: usize = 20;

/// Restores into a directory in `scratch`, and compares.
///
/// # Errors
/// Entries that differ.
pub(crate) fn test(work: &Work<'_>, scratch: &Path) -> Result<Outcome> {
    let opened = work.open()?;
    let stage = Stage::make(scratch, work.backup.id, warn)?;
    let done = work.extract_selected(&opened, &stage)?;
    stage.sync()?;
    let met = RefCell::new(Vec::new());
    let place = |name: &[u8]| Some(in_tree(&work.place(name, &mut met.borrow_mut())?));
    let plan = work.plan(&opened, &stage, &place);
    let mut count = 0;
    let differs = |name: &[u8], what: &str| {
        count += 1;
        if count <= REPORTED {
            let name = String::from_utf8_lossy(name);
            work.watch.warn(&format!("'{name}': {what}"));
        }
    };
    compare(&opened.file, &stage.dir, &plan, &done, work.watch, differs)
        .context("cannot compare what was restored")?;
    if count > 0 {
        ensure!(count > 1, "1 entry is not as the archive has it");
        bail!("{count} entries are not as the archive has them");
    }
    Ok(Outcome::of([&done]))
}
