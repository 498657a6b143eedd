//! An object that comes in parts: how large they are, that none is missing, a file sent whole.
//!
//! Knows no kind of place.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Kind, Result};
use crate::location::Location;
use crate::place::{Part, PartReceipt, Place, Stored, Storing};

const MIB: u64 = 1024 * 1024;
const USUAL_PART_BYTES: u64 = 16 * MIB;

/// How large the parts of an object are, so that there are no more than a place takes.
#[must_use]
pub fn part_bytes(size: u64, most_parts: u32) -> u64 {
    let needed = size.div_ceil(u64::from(most_parts.max(1)));
    needed
        .div_ceil(MIB)
        .saturating_mul(MIB)
        .max(USUAL_PART_BYTES)
}

/// Why receipts make no object; `None` if they do.
pub(crate) fn gap(receipts: &[PartReceipt]) -> Option<String> {
    let mut end = 0;
    for (index, receipt) in receipts.iter().enumerate() {
        let number = index + 1;
        if usize::try_from(receipt.number) != Ok(number) || receipt.offset != end {
            return Some(format!("part {number} is not where part {index} ends"));
        }
        end += receipt.bytes;
    }
    receipts.is_empty().then(|| "it has no parts".to_owned())
}

/// How long the object of such parts is.
pub(crate) fn total_bytes(receipts: &[PartReceipt]) -> u64 {
    receipts.iter().map(|receipt| receipt.bytes).sum()
}

/// Reads a part of a file.
pub(crate) fn read(
    location: &Location,
    key: &str,
    file: &File,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(cannot_read(location, key, error)),
    }
}

/// That our own file cannot be read.
pub(crate) fn cannot_read(location: &Location, key: &str, error: std::io::Error) -> Error {
    let why = format!("cannot read what is to be sent: {error}");
    Error::new(Kind::Other, location, why).of(key)
}

/// That what came from a place cannot be written.
pub(crate) fn cannot_write(location: &Location, key: &str, error: std::io::Error) -> Error {
    let why = format!("cannot write what was read: {error}");
    Error::new(Kind::Other, location, why).of(key)
}

/// Sends a file, in parts where it is large.
pub(crate) fn in_parts(
    place: &dyn Place,
    location: &Location,
    key: &str,
    file: &File,
    size: u64,
    storing: &Storing,
) -> Result<Stored> {
    let part_bytes = part_bytes(size, place.abilities().most_parts);
    if size <= part_bytes {
        return place.put(key, read(location, key, file, 0, size)?, storing);
    }
    let upload = place.begin(key, storing)?;
    let send = || {
        let mut receipts = Vec::new();
        for (offset, number) in (0..size)
            .step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX))
            .zip(1..)
        {
            let length = part_bytes.min(size - offset);
            let bytes = read(location, key, file, offset, length)?;
            receipts.push(place.part(
                key,
                &upload,
                Part {
                    number,
                    offset,
                    bytes,
                },
            )?);
        }
        place.complete(key, &upload, &receipts, storing)
    };
    send().inspect_err(|_| {
        // The first failure is the one to tell; the store forgets the parts by its own rules.
        let _ = place.abort(key, &upload);
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_no_more_than_may_be() {
        assert_eq!(part_bytes(0, 10_000), 16 * MIB);
        assert_eq!(part_bytes(160_000 * MIB, 10_000), 16 * MIB);
        assert_eq!(part_bytes(160_000 * MIB + 1, 10_000), 17 * MIB);
        let size = 5 * 1024 * 1024 * MIB;
        assert!(size.div_ceil(part_bytes(size, 10_000)) <= 10_000);
    }

    #[test]
    fn a_part_that_is_missing_is_told() {
        let receipt = |number, offset, bytes| PartReceipt {
            number,
            offset,
            bytes,
            sha256: String::new(),
            is_confirmed: true,
            id: String::new(),
        };
        let all = [receipt(1, 0, 5), receipt(2, 5, 5), receipt(3, 10, 1)];
        assert_eq!(gap(&all), None);
        assert_eq!(total_bytes(&all), 11);
        assert!(gap(&[]).is_some());
        assert!(gap(&all[1..]).is_some());
        assert!(gap(&[all[0].clone(), all[2].clone()]).is_some());
        assert!(gap(&[all[1].clone(), all[0].clone()]).is_some());
        assert!(gap(&[receipt(1, 0, 5), receipt(2, 4, 5)]).is_some());
    }
}
