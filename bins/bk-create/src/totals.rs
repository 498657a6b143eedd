//! How much there is to back up, and how large its archive will be.
//!
//! Counts the sources by a walk of their own; the archive's size is estimated from an earlier
//! backup of the same sources, else from a compressed sample of the data. Knows no storage.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use bk_archive::format::codec::{Compression, Compressor};
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

/// The bytes of an archive, and those of the content that it is of.
type Ratio = (u64, u64);

/// The sizes of an earlier backup of the same sources; `None` where the record lacks them.
pub(crate) fn earlier_ratio(backup: &Backup) -> Option<Ratio> {
    let content_bytes = backup.backup_metadata.get("content_bytes")?.as_u64()?;
    let archive_bytes = backup.backup_size?;
    (content_bytes > 0).then_some((archive_bytes, content_bytes))
}

impl Totals {
    /// Walks the sources. What cannot be read is reported when the backup is made.
    ///
    /// # Errors
    /// A level out of range.
    pub(crate) fn count(
        sources: &[Source],
        filter: &Filter,
        sample: Option<Compression>,
    ) -> Result<Self> {
        let mut totals = Self {
            sample: sample.map(Sample::new).transpose()?,
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
    pub(crate) fn archive_bytes(&self, earlier: Option<Ratio>) -> u64 {
        let headers_bytes = self.entry_count * ENTRY_BYTES;
        let scaled = |(bytes, of): Ratio| {
            let scaled = u128::from(self.content_bytes) * u128::from(bytes) / u128::from(of.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        match earlier {
            Some(earlier) => scaled(earlier).max(headers_bytes / 4),
            None => scaled(self.sample.as_ref().map_or((1, 1), Sample::ratio)) + headers_bytes,
        }
    }
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
