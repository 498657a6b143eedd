//! Limits over all groups: the oldest go until what is left fits.
//!
//! Exact, since archives share nothing. Knows no rule and no calendar.

use std::collections::BTreeMap;

use bk_cli::units::human_size;

use crate::policy::Caps;

/// Bytes that are free, by file system.
pub(crate) type FreeBytes = BTreeMap<u64, u64>;

/// What the limits know of a backup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    /// Of the archive, as recorded.
    pub(crate) size_bytes: u64,
    /// On which file system it is and how much of it it takes; none where no archive is.
    pub(crate) on_disk: Option<(u64, u64)>,
    pub(crate) is_kept: bool,
    /// Whether a limit may have it removed.
    pub(crate) may_go: bool,
}

/// Which of all, the oldest first, go, each with its reason; and limits that cannot be kept.
pub(crate) fn apply(
    caps: &Caps,
    all: &[Weight],
    free: &FreeBytes,
) -> (Vec<(usize, String)>, Vec<String>) {
    let mut state = State {
        all: all.to_vec(),
        gone: Vec::new(),
        unmet: Vec::new(),
    };
    if let Some(most) = caps.count {
        let name = format!("max-count {most}");
        let over = state.kept().count().saturating_sub(most);
        state.remove(over as u64, |_| 1, &name);
    }
    if let Some(most) = caps.total_bytes {
        let name = format!("max-total-size {}", human_size(most));
        let total: u64 = state.kept().map(|it| it.size_bytes).sum();
        state.remove(total.saturating_sub(most), |it| it.size_bytes, &name);
    }
    if let Some(wanted) = caps.free_bytes {
        let name = format!("keep-free {}", human_size(wanted));
        for (file_system, free_bytes) in free {
            let frees = |it: &Weight| match it.on_disk {
                Some((at, bytes)) if at == *file_system => bytes,
                _ => 0,
            };
            let freed: u64 = state.all.iter().filter(|it| !it.is_kept).map(frees).sum();
            let missing = wanted.saturating_sub(free_bytes.saturating_add(freed));
            state.remove(missing, frees, &name);
        }
    }
    (state.gone, state.unmet)
}

struct State {
    all: Vec<Weight>,
    gone: Vec<(usize, String)>,
    unmet: Vec<String>,
}

impl State {
    fn kept(&self) -> impl Iterator<Item = &Weight> {
        self.all.iter().filter(|it| it.is_kept)
    }

    /// Removes the oldest that bring something until they bring so much.
    fn remove(&mut self, wanted: u64, brings: impl Fn(&Weight) -> u64, name: &str) {
        let mut left = wanted;
        for (at, it) in self.all.iter_mut().enumerate() {
            let brought = brings(it);
            if left > 0 && it.is_kept && it.may_go && brought > 0 {
                it.is_kept = false;
                left = left.saturating_sub(brought);
                self.gone.push((at, name.to_owned()));
            }
        }
        if left > 0 {
            self.unmet.push(name.to_owned());
        }
    }
}
