//! Users and groups of this machine, by id and by name.
//!
//! From /etc/passwd and /etc/group, not from the name service, which may use the network.

use std::collections::HashMap;
use std::hash::Hash;

/// Names by id.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) users: HashMap<u32, Vec<u8>>,
    pub(crate) groups: HashMap<u32, Vec<u8>>,
}

impl Names {
    pub(crate) fn of_this_machine() -> Self {
        let by_id = |path| first(accounts(path).into_iter().map(|(name, id)| (id, name)));
        Self {
            users: by_id(USERS),
            groups: by_id(GROUPS),
        }
    }
}

/// Ids by name.
#[derive(Debug, Default)]
pub struct Ids {
    pub(crate) users: HashMap<Vec<u8>, u32>,
    pub(crate) groups: HashMap<Vec<u8>, u32>,
}

impl Ids {
    /// All users and groups of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self {
            users: first(accounts(USERS)),
            groups: first(accounts(GROUPS)),
        }
    }
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// The first line with a name or an id counts, as for getpwnam(3) and getpwuid(3).
fn first<K: Eq + Hash, V>(pairs: impl IntoIterator<Item = (K, V)>) -> HashMap<K, V> {
    let mut all = HashMap::new();
    for (key, value) in pairs {
        all.entry(key).or_insert(value);
    }
    all
}

/// Name and id of each line of passwd(5) or group(5); empty if the file is missing.
fn accounts(path: &str) -> Vec<(Vec<u8>, u32)> {
    let text = std::fs::read(path).unwrap_or_default();
    let account = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        Some((name.to_owned(), str::from_utf8(id).ok()?.parse().ok()?))
    };
    text.split(|byte| *byte == b'\n')
        .filter_map(account)
        .collect()
}
