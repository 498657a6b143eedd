//! How much there is to back up, and how large its archive will be.
//!
//! Counts the sources by a walk of their own; the archive's size is estimated from an earlier
//! backup of the same sources, else from a compressed sample of the data. Where there is room for a
//! multiple of the earlier archive, its figures do. Knows no storage.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};

use anyhow::Result;
use bk_archive::format::codec::{Compression, Compressor};
use bk_archive::format::entry::FileTime;
use bk_archive::write::filter::Filter;
use bk_archive::write::place::Place;
use bk_archive::write::walk::{Found, Source, walk_part};
use bk_schema::record::Backup;
use rustix::fs::FileType;

/// How much of a file one probe compresses.
const PROBE_BYTES: u64 = 64 << 10;
/// More probes are thinned out to half of them, so that they stay evenly spread.
const PROBES_MAX: usize = 128;
/// The compressed size of the headers of an entry.
const ENTRY_BYTES: u64 = 110;
/// So many threads count the sources: the walk is what a backup begins with, and nothing else goes on.
const PARTS: usize = 2;
/// A file that changed makes so much of what is around it new, at least.
const CHANGE_BYTES: u64 = 1 << 20;
/// So much larger the archive may be than the earlier one before it matters how large it will be.
const GROWTH_MAX: u64 = 4;

/// What there is to back up.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) file_count: u64,
    pub(crate) content_bytes: u64,
    entry_count: u64,
    sample: Option<Sample>,
    changed_bytes: u64,
}

/// What to find out beside the counts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// How well it can be compressed.
    pub(crate) sample: Option<Compression>,
    /// How much of it has changed since.
    pub(crate) since: Option<FileTime>,
}

/// The bytes of an archive, and those of the content that it is of.
type Ratio = (u64, u64);

/// What an earlier backup of the same sources came to.
#[derive(Clone, Copy)]
pub(crate) struct Earlier {
    file_count: u64,
    content_bytes: u64,
    archive_bytes: u64,
}

impl Earlier {
    /// `None` where the record lacks it.
    pub(crate) fn of(backup: &Backup) -> Option<Self> {
        let content_bytes = backup.backup_metadata.get("content_bytes")?.as_u64()?;
        let earlier = Self {
            file_count: backup.file_count?,
            content_bytes,
            archive_bytes: backup.backup_size?,
        };
        (content_bytes > 0).then_some(earlier)
    }

    /// Whether an archive fits here whatever has come to the sources since, as far as can be expected.
    pub(crate) fn fits_easily(self, room_bytes: Option<u64>) -> bool {
        let needed_bytes = self.archive_bytes.saturating_mul(GROWTH_MAX);
        room_bytes.is_none_or(|room_bytes| needed_bytes <= room_bytes)
    }
}

/// What threads that count the sources share.
type Links = Mutex<HashSet<(u64, u64)>>;

impl Totals {
    /// Those of an earlier backup.
    pub(crate) fn as_earlier(earlier: Earlier) -> Self {
        Self {
            file_count: earlier.file_count,
            content_bytes: earlier.content_bytes,
            ..Self::default()
        }
    }

    /// Walks the sources. What cannot be read is reported when the backup is made.
    ///
    /// # Errors
    /// A level out of range.
    pub(crate) fn count(sources: &[Source], filter: &Filter, wanted: Wanted) -> Result<Self> {
        let links = Links::default();
        let count = |part| Self::count_part(sources, filter, wanted, &links, part);
        std::thread::scope(|scope| {
            let begin = |part| Builder::new().spawn_scoped(scope, move || count(part));
            let others: Vec<_> = (1..PARTS).map(|part| (part, begin(part))).collect();
            let mut totals = count(0)?;
            for (part, other) in others {
                let counted = match other.map(ScopedJoinHandle::join) {
                    Ok(Ok(counted)) => counted?,
                    Ok(Err(panic)) => std::panic::resume_unwind(panic),
                    // No thread is to be had: this one does its work.
                    Err(_) => count(part)?,
                };
                totals.add(counted);
            }
            Ok(totals)
        })
    }

    fn count_part(
        sources: &[Source],
        filter: &Filter,
        wanted: Wanted,
        links: &Links,
        part: usize,
    ) -> Result<Self> {
        let mut totals = Self {
            sample: wanted.sample.map(Sample::new).transpose()?,
            ..Self::default()
        };
        for source in sources {
            for (number, found) in walk_part(source, filter, part, PARTS).enumerate() {
                // The source itself comes first in all of them.
                let Some(found) = found.ok().filter(|_| number > 0 || part == 0) else {
                    continue;
                };
                totals.count_found(&found, wanted.since, links);
            }
        }
        Ok(totals)
    }

    fn count_found(&mut self, found: &Found, since: Option<FileTime>, links: &Links) {
        let status = &found.status;
        // No archive can hold it, which is reported when the backup is made.
        if status.kind() == FileType::Socket {
            return;
        }
        self.entry_count += 1;
        self.file_count += u64::from(!status.is_dir());
        let is_first = || {
            let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
            links.insert(status.id())
        };
        if status.is_file() && (!status.has_hard_links() || is_first()) {
            let bytes = found.data_bytes();
            if let Some(sample) = &mut self.sample {
                sample.pass(&found.place, self.content_bytes, bytes);
            }
            self.content_bytes += bytes;
            if since.is_some_and(|since| status.ctime() >= since) {
                self.changed_bytes += bytes.max(CHANGE_BYTES);
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.file_count += other.file_count;
        self.content_bytes += other.content_bytes;
        self.entry_count += other.entry_count;
        self.changed_bytes += other.changed_bytes;
        if let (Some(sample), Some(other)) = (&mut self.sample, other.sample) {
            sample.add(other);
        }
    }

    /// What of an archive of so many bytes is new, as far as times of change tell.
    pub(crate) fn new_bytes(&self, archive_bytes: u64) -> u64 {
        let ratio = (archive_bytes, self.content_bytes);
        scaled(self.changed_bytes, ratio).min(archive_bytes)
    }

    /// The estimated size of the archive.
    pub(crate) fn archive_bytes(&self, earlier: Option<Earlier>) -> u64 {
        let headers_bytes = self.entry_count * ENTRY_BYTES;
        let scaled = |ratio| scaled(self.content_bytes, ratio);
        match earlier {
            Some(earlier) => {
                scaled((earlier.archive_bytes, earlier.content_bytes)).max(headers_bytes / 4)
            }
            None => scaled(self.sample.as_ref().map_or((1, 1), Sample::ratio)) + headers_bytes,
        }
    }
}

fn scaled(count: u64, (bytes, of): Ratio) -> u64 {
    let scaled = u128::from(count) * u128::from(bytes) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Probes evenly spread over the bytes of all files.
struct Sample {
    compressor: Compressor,
    /// Compressed and raw bytes of each probe.
    probes: Vec<Ratio>,
    /// From one probe to the next.
    stride_bytes: u64,
    /// Where the next probe is due.
    next_at: u64,
}

impl Sample {
    fn new(compression: Compression) -> Result<Self> {
        Ok(Self {
            compressor: compression.compressor()?,
            probes: Vec::new(),
            stride_bytes: PROBE_BYTES,
            next_at: 0,
        })
    }

    /// The walk passes a file that begins at `begin` of all bytes: probes it where one is due.
    fn pass(&mut self, place: &Place, begin: u64, bytes: u64) {
        while self.next_at < begin + bytes {
            let offset = self.next_at.saturating_sub(begin);
            if let Some(probe) = self.probe(place, offset) {
                self.probes.push(probe);
            }
            self.next_at += self.stride_bytes;
            if self.probes.len() > PROBES_MAX {
                let mut is_kept = false;
                self.probes.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
                self.stride_bytes *= 2;
            }
        }
    }

    /// Adds the probes of another one, as if each stood for as much.
    fn add(&mut self, mut other: Self) {
        let (finer, stride_bytes) = match self.stride_bytes < other.stride_bytes {
            true => (&mut self.probes, other.stride_bytes / self.stride_bytes),
            false => (&mut other.probes, self.stride_bytes / other.stride_bytes),
        };
        let kept = finer.iter().step_by(stride_bytes as usize).copied();
        *finer = kept.collect();
        self.probes.append(&mut other.probes);
    }

    fn probe(&mut self, place: &Place, offset: u64) -> Option<Ratio> {
        let file = place.open().ok()?;
        let mut content = vec![0; PROBE_BYTES as usize];
        let read = file.read_at(&mut content, offset).ok()?;
        let member = self.compressor.member(&content[..read]).ok()?;
        (read > 0).then_some((member.len() as u64, read as u64))
    }

    fn ratio(&self) -> Ratio {
        let sum = |of: fn(&Ratio) -> u64| self.probes.iter().map(of).sum::<u64>();
        match (sum(|probe| probe.0), sum(|probe| probe.1)) {
            (_, 0) => (1, 1),
            ratio => ratio,
        }
    }
}
