//! How much there is to back up, and how large its archive will be.
//!
//! Counts the sources by a walk of their own; the archive's size is estimated from an earlier
//! backup of the same sources, else from a compressed sample of the data. Knows no storage.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use bk_archive::format::member::Deflater;
use bk_archive::write::place::Place;
use bk_archive::write::walk::{Filter, Source, walk};
use bk_schema::record::Backup;
use rustix::fs::FileType;

/// How much of a file one probe compresses.
const PROBE_BYTES: u64 = 64 << 10;
/// More probes are thinned out to half of them, so that they stay evenly spread.
const PROBES_MAX: usize = 128;
/// The compressed size of the headers of an entry.
const ENTRY_BYTES: u64 = 110;

/// What there is to back up.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) file_count: u64,
    pub(crate) content_bytes: u64,
    entry_count: u64,
    sample: Option<Sample>,
}

/// The sizes of an earlier backup of the same sources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EarlierSize {
    content_bytes: u64,
    archive_bytes: u64,
}

impl EarlierSize {
    /// `None` where the record lacks them.
    pub(crate) fn of(backup: &Backup) -> Option<Self> {
        let content_bytes = backup.backup_metadata.get("content_bytes")?.as_u64()?;
        let archive_bytes = backup.backup_size?;
        (content_bytes > 0).then_some(Self {
            content_bytes,
            archive_bytes,
        })
    }
}

impl Totals {
    /// Walks the sources. What cannot be read is reported when the backup is made.
    ///
    /// # Errors
    /// A level out of range.
    pub(crate) fn count(
        sources: &[Source],
        filter: &Filter,
        sample_level: Option<i32>,
    ) -> Result<Self> {
        let mut totals = Self {
            sample: sample_level.map(Sample::new).transpose()?,
            ..Self::default()
        };
        let mut links = HashSet::new();
        for source in sources {
            for found in walk(source, filter).flatten() {
                let status = &found.status;
                // No archive can hold it, which is reported when the backup is made.
                if status.kind() == FileType::Socket {
                    continue;
                }
                totals.entry_count += 1;
                totals.file_count += u64::from(!status.is_dir());
                let is_first = !status.has_hard_links() || links.insert(status.id());
                if status.is_file() && is_first {
                    let bytes = found.data_bytes();
                    if let Some(sample) = &mut totals.sample {
                        sample.pass(&found.place, totals.content_bytes, bytes);
                    }
                    totals.content_bytes += bytes;
                }
            }
        }
        Ok(totals)
    }

    /// The estimated size of the archive.
    pub(crate) fn archive_bytes(&self, earlier: Option<EarlierSize>) -> u64 {
        let ratio = match (earlier, &self.sample) {
            (Some(earlier), _) => {
                let (archive_bytes, of) = (earlier.archive_bytes, earlier.content_bytes);
                let scaled = scale(self.content_bytes, archive_bytes, of);
                return scaled.max(self.entry_count * ENTRY_BYTES / 4);
            }
            (None, Some(sample)) => sample.ratio(),
            (None, None) => (1, 1),
        };
        scale(self.content_bytes, ratio.0, ratio.1) + self.entry_count * ENTRY_BYTES
    }
}

fn scale(bytes: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(bytes) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Probes evenly spread over the bytes of all files.
struct Sample {
    deflater: Deflater,
    /// Raw and compressed bytes of each probe.
    probes: Vec<(u64, u64)>,
    /// From one probe to the next.
    stride_bytes: u64,
    /// Where the next probe is due.
    next_at: u64,
}

impl Sample {
    fn new(level: i32) -> Result<Self> {
        Ok(Self {
            deflater: Deflater::new(level)?,
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
                let mut index = 0;
                self.probes.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride_bytes *= 2;
            }
        }
    }

    fn probe(&mut self, place: &Place, offset: u64) -> Option<(u64, u64)> {
        let file = place.open().ok()?;
        let mut content = vec![0; PROBE_BYTES as usize];
        let read = file.read_at(&mut content, offset).ok()?;
        let member = self.deflater.member(&content[..read]).ok()?;
        (read > 0).then_some((read as u64, member.len() as u64))
    }

    /// Compressed bytes, and the raw ones that they were.
    fn ratio(&self) -> (u64, u64) {
        let sum = |of: fn(&(u64, u64)) -> u64| self.probes.iter().map(of).sum::<u64>();
        match (sum(|probe| probe.1), sum(|probe| probe.0)) {
            (_, 0) => (1, 1),
            ratio => ratio,
        }
    }
}
