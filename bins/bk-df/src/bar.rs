//! A file system as a bar: backups, other files, free space, reserve. Pure functions.
//!
//! The parts have different characters, not only different colours.

use bk_cli::Tone;

use crate::summary::Summary;

/// The parts of a bar, from the left.
pub(crate) const PARTS: [(char, &str, Tone); 4] = [
    ('#', "backups", Tone::Head),
    ('+', "others", Tone::Plain),
    ('.', "free", Tone::Good),
    ('!', "reserve", Tone::Warn),
];

/// The bytes of each part; `None` if the space is not known.
pub(crate) fn parts(summary: &Summary) -> Option<[u64; 4]> {
    let (size, free) = (summary.size_bytes?, summary.free_bytes?);
    let used = size.saturating_sub(free);
    // The backups' sizes may exceed the used space: files with holes take less than their size.
    let backups = summary.backup_bytes.min(used);
    let reserve = summary.reserve_bytes?.min(free);
    Some([backups, used - backups, free - reserve, reserve])
}

/// The cells of each part, `width` in total. A part that is not empty gets at least one, unless
/// that would take the last one of another part.
pub(crate) fn widths(parts: [u64; 4], width: usize) -> [usize; 4] {
    let total: u128 = parts.iter().map(|it| u128::from(*it)).sum();
    if total == 0 {
        return [0, 0, width, 0];
    }
    let (mut sum, mut edge) = (0, 0);
    let mut cells = parts.map(|part| {
        sum += u128::from(part);
        // No more than `width`, as the sum is no more than the total.
        let next = ((sum * width as u128 + total / 2) / total) as usize;
        next - std::mem::replace(&mut edge, next)
    });
    for at in 0..cells.len() {
        let widest = (0..cells.len()).max_by_key(|at| cells[*at]).unwrap_or(at);
        if parts[at] > 0 && cells[at] == 0 && cells[widest] > 1 {
            cells[widest] -= 1;
            cells[at] = 1;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bar_is_drawn_to_scale() {
        assert_eq!(widths([25, 25, 40, 10], 20), [5, 5, 8, 2]);
        assert_eq!(widths([0, 0, 0, 0], 20), [0, 0, 20, 0]);
        assert_eq!(widths([1, 0, 1 << 50, 1], 10), [1, 0, 8, 1]);
        assert_eq!(widths([u64::MAX; 4], 8), [2, 2, 2, 2]);
    }

    proptest! {
        #[test]
        fn a_bar_has_never_a_wrong_width(
            parts in prop::array::uniform4(prop_oneof![Just(0), 0..5u64, any::<u64>()]),
            width in 0..300usize
        ) {
            let cells = widths(parts, width);
            prop_assert_eq!(cells.iter().sum::<usize>(), width);
            let is_some = parts.iter().any(|it| *it > 0);
            for (part, cells) in parts.iter().zip(cells) {
                prop_assert!(*part > 0 || cells == 0 || !is_some);
                prop_assert!(*part == 0 || cells > 0 || width < 7);
            }
        }
    }
}
