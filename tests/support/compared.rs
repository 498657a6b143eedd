//! What of an archive is the same in any other one of the same tree.
//!
//! Knows the formats as far as that needs, and no product code.

use std::fs;
use std::path::Path;

/// The magic numbers of the seek table's footer, and of the frame that it is in.
const TABLE_END: u32 = 0x8f92_eab1;
const TABLE_BEGIN: u32 = 0x184d_2a5e;

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// An archive without its first member, which tells the name of the backup, and without the padding
/// behind it; nor is either in the seek table.
pub fn rest_of(archive: &Path) -> Vec<u8> {
    let mut bytes = fs::read(archive).unwrap();
    let end = bytes.len();
    if number(&bytes, end - 4) != TABLE_END {
        let first = number(&bytes, 16) as usize;
        let rest = bytes.split_off(first);
        let padding = match rest[12..].starts_with(b"BP") {
            true => number(&rest, 16) as usize,
            false => 0,
        };
        return rest[padding..].to_vec();
    }
    let pairs = end - 9 - 8 * number(&bytes, end - 9) as usize;
    assert_eq!(number(&bytes, pairs - 8), TABLE_BEGIN);
    let (mut begin, mut pair) = (number(&bytes, pairs) as usize, pairs + 8);
    if number(&bytes, begin) >> 4 == TABLE_BEGIN >> 4 && number(&bytes, pair + 4) == 0 {
        (begin, pair) = (begin + number(&bytes, pair) as usize, pair + 8);
    }
    // The header of the table and its end tell how many pairs there are.
    [&bytes[begin..pairs - 8], &bytes[pair..end - 9]].concat()
}
