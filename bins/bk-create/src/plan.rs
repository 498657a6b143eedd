//! The plan of one backup: its sources, what is left out of them, where the archive goes, and
//! how much space it may take. Made once, before a byte is written.
//!
//! Changes nothing on disk, and knows no record but those of earlier backups.

use std::path::Path;

use anyhow::{Context, Result};
use bk_archive::format::codec::Compression;
use bk_archive::write::filter::Filter;
use bk_schema::record::Backup;
use bk_store::archives::share;
use bk_store::archives::space::Space;
use bk_store::home::Home;
use bk_store::own;
use serde_json::Value;

use crate::flags::Settings;
use crate::parent::unsure_from;
use crate::records::Records;
use crate::request::Request;
use crate::sources::Sources;
use crate::totals::{Earlier, Totals, Wanted};
use crate::unmatched::Unmatched;

/// The number of the capability (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;

/// How one backup is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) request: &'a Request,
    pub(crate) settings: &'a Settings,
    pub(crate) compression: Compression,
    pub(crate) sources: Sources,
    pub(crate) filter: Filter,
    /// What of the excludes matches nothing.
    pub(crate) unmatched: Unmatched,
    pub(crate) totals: Totals,
    /// The storage directory, absolute.
    pub(crate) storage: String,
    /// The archives that the catalog has there.
    storage_archives: Vec<String>,
    /// `None` where the file system reports no figures.
    pub(crate) available_bytes: Option<u64>,
    pub(crate) reserve_bytes: u64,
    /// The estimated size of the archive, and whether it comes from an earlier backup.
    pub(crate) archive_bytes: u64,
    /// What of it is new, where it shares the rest with its parent.
    pub(crate) new_bytes: Option<u64>,
    pub(crate) has_earlier: bool,
    /// Whether this process cannot see all attributes, though people expect it to.
    pub(crate) hides_attributes: bool,
    /// Whether the record of an earlier backup of the same sources says so already.
    pub(crate) is_hiding_recorded: bool,
}

impl<'a> Plan<'a> {
    /// Finds the sources, and counts them where that is asked for, or needed to tell whether the archive
    /// fits.
    ///
    /// # Errors
    /// A source that cannot be backed up; a storage directory whose path is not UTF-8.
    pub(crate) fn new(
        home: &Home,
        records: &Records,
        settings: &'a Settings,
        request: &'a Request,
        is_estimate: bool,
    ) -> Result<Self> {
        let storage = storage_dir(settings, records)?;
        let mut filter = Filter::new(&request.excludes)?;
        filter.own = own::dirs(home, Path::new(&storage));
        filter.own_files = own::archive_names(&records.backups);
        let sources = Sources::resolve(request, settings.base.as_deref(), &filter.own)?;
        sources.warn_of_links();
        filter.other_sources = sources.names.iter().cloned().collect();
        let newest = records.of_sources(&sources.recorded).next();
        let is_hiding_recorded =
            newest.is_some_and(|it| it.backup_metadata.contains_key("unseen_attributes"));
        let earlier = records.of_sources(&sources.recorded).find_map(Earlier::of);
        let space = Space::at(Path::new(&storage))?;
        let default_reserve = || space.map_or(0, Space::default_reserve);
        let reserve_bytes = settings.reserve_bytes.unwrap_or_else(default_reserve);
        let room_bytes = space.map(|it| it.available_bytes.saturating_sub(reserve_bytes));
        // Only a walk tells which excludes match nothing.
        let needs_count = is_estimate || Unmatched::can_be(&request.excludes);
        let compression = settings.compression_of(request.codec);
        let shares_blocks = || share::block_bytes(Path::new(&storage)).is_some();
        let since = records
            .of_sources(&sources.recorded)
            .find(|it| settings.parent.admits(it) && can_share(it, home, &storage, compression))
            .filter(|_| shares_blocks())
            .map(unsure_from);
        let totals = match earlier.filter(|it| !needs_count && it.fits_easily(room_bytes)) {
            Some(earlier) => Totals::as_earlier(earlier),
            None => {
                let wanted = Wanted {
                    sample: earlier.is_none().then_some(compression),
                    since,
                };
                Totals::count(&sources.stored, &filter, wanted)?
            }
        };
        let archive_bytes = totals.archive_bytes(earlier);
        Ok(Self {
            request,
            settings,
            compression,
            unmatched: Unmatched::of(&filter),
            filter,
            sources,
            storage_archives: records.archives_in(Path::new(&storage)),
            storage,
            available_bytes: space.map(|it| it.available_bytes),
            reserve_bytes,
            archive_bytes,
            new_bytes: since.map(|_| totals.new_bytes(archive_bytes)),
            has_earlier: earlier.is_some(),
            totals,
            hides_attributes: request.has_paths() && is_root_of_all() && !sees_trusted(),
            is_hiding_recorded,
        })
    }

    /// How its archive is made: two that are made so have the same bytes for the same tree.
    pub(crate) fn archive_format(&self) -> String {
        let format = self.compression.archive_format();
        match sees_trusted() {
            true => format,
            false => format!("{format}, without trusted attributes"),
        }
    }

    pub(crate) fn storage_archives(&self) -> impl Iterator<Item = &str> {
        self.storage_archives.iter().map(String::as_str)
    }
}

/// Whether an archive in the storage directory can be the parent of one.
fn can_share(backup: &Backup, home: &Home, storage: &str, compression: Compression) -> bool {
    let metadata = &backup.backup_metadata;
    let level = metadata.get("compression_level").and_then(Value::as_i64);
    metadata.contains_key("manifest_hash")
        && backup.created_at <= home.now
        && Path::new(&backup.backup_path).parent() == Some(Path::new(storage))
        && backup.compression_type == compression.codec.name()
        && level == Some(compression.level.into())
}

/// Whether the kernel lists extended attributes of the name space `trusted` to this process: to holders of
/// CAP_SYS_ADMIN alone, and to nobody in a user name space. Others do not learn that there are some.
fn sees_trusted() -> bool {
    let status = read_proc("status");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << CAP_SYS_ADMIN) != 0) && is_user_name_space_whole()
}

/// Other users expect to see less than root, and in a user name space root is one of them.
fn is_root_of_all() -> bool {
    rustix::process::geteuid().is_root() && is_user_name_space_whole()
}

fn is_user_name_space_whole() -> bool {
    let map = read_proc("uid_map");
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Nothing where there is no /proc.
fn read_proc(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

/// # Errors
/// One that is not UTF-8, as the paths of the catalog are.
fn storage_dir(settings: &Settings, records: &Records) -> Result<String> {
    let dir = settings.storage.as_ref().unwrap_or(&records.storage_dir);
    let dir = std::path::absolute(dir)
        .with_context(|| format!("cannot find the storage directory '{}'", dir.display()))?;
    let text = dir.to_str().map(str::to_owned);
    text.with_context(|| {
        format!(
            "the storage directory '{}' is not UTF-8: the paths in the catalog are text; name another with --storage",
            dir.display()
        )
    })
}
