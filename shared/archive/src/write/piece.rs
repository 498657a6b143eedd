//! The pieces of a large file: each is a member of its own, cut at fixed offsets of the content.
//!
//! Knows no file.

/// The size of a piece; a file with so much data has members of its own.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;
/// The last piece may be this much longer, to avoid tiny members.
const SLACK_BYTES: u64 = PIECE_BYTES / 4;

/// The length of the next piece, of so many bytes that are left.
pub(crate) fn next_bytes(rest: u64) -> u64 {
    let is_last = rest <= PIECE_BYTES + SLACK_BYTES;
    if is_last { rest } else { PIECE_BYTES }
}

/// The pieces of a file without holes.
pub(crate) fn count(size: u64) -> u64 {
    1 + size.saturating_sub(SLACK_BYTES + 1) / PIECE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_as_they_are_cut() {
        let edges = (1..6).map(|it| it * PIECE_BYTES / 4 * 3);
        for size in edges.flat_map(|it| [it - 1, it, it + 1]) {
            let (mut rest, mut cut) = (size, 0);
            while rest > 0 {
                rest -= next_bytes(rest);
                cut += 1;
            }
            assert_eq!(count(size), cut, "{size}");
        }
        assert_eq!(count(PIECE_BYTES + SLACK_BYTES), 1);
        assert_eq!(count(PIECE_BYTES + SLACK_BYTES + 1), 2);
    }
}
