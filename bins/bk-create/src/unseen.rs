//! Extended attributes that the kernel hides from this process.
//!
//! Those of the name space `trusted` are listed for holders of CAP_SYS_ADMIN alone; others do not
//! learn that there are some. Knows no source.

/// The number of the capability (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;

/// What is hidden, as the record says it.
pub(crate) const TRUSTED: &str = "trusted";

/// Whether this is root without the capability. Other users expect to see less, and in a user
/// name space nobody can see them.
pub(crate) fn are_hidden() -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let lacks = mask.is_some_and(|mask| mask & (1 << CAP_SYS_ADMIN) == 0);
    let map = read("/proc/self/uid_map");
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    lacks && is_whole && rustix::process::geteuid().is_root()
}
