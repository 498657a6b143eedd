//! The sources as they are now, told as a manifest would tell them.
//!
//! Opens no file and writes nothing.

use bk_schema::manifest::Entry;
use rustix::fs::FileType;

use crate::write::filter::Filter;
use crate::write::problem::Problem;
use crate::write::source::Opener;
use crate::write::walk::{Source, walk};

/// What a backup of the sources would hold, in the order of its archive. What a file would tell only
/// when it is opened is not told: holes, and sizes that are not what they seem.
pub fn entries<'a>(
    sources: &'a [Source],
    filter: &'a Filter,
) -> impl Iterator<Item = Result<Entry, Problem>> + 'a {
    let mut opener = Opener::new();
    let found = sources.iter().flat_map(|source| walk(source, filter));
    let stored = found.filter(|it| match it {
        Ok(found) => found.status.kind() != FileType::Socket,
        Err(_) => true,
    });
    stored.map(move |it| it.and_then(|found| opener.describe(&found)))
}
