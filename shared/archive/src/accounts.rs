//! Users and groups of this machine, by id or by name.
//!
//! From /etc/passwd and /etc/group, not from the name service, which may use the network.

use std::collections::HashMap;
use std::hash::Hash;

/// Users and groups.
#[derive(Debug, Default)]
pub struct Accounts<K, V> {
    pub(crate) users: HashMap<K, V>,
    pub(crate) groups: HashMap<K, V>,
}

/// Names by id.
pub(crate) type Names = Accounts<u32, Vec<u8>>;
/// Ids by name.
pub type Ids = Accounts<Vec<u8>, u32>;

impl Names {
    pub(crate) fn of_this_machine() -> Self {
        Self::read(|name, id| (id, name))
    }

    /// The names of a user and a group; empty if unknown.
    pub(crate) fn of(&self, (uid, gid): (u32, u32)) -> (Vec<u8>, Vec<u8>) {
        let user = self.users.get(&uid).cloned();
        let group = self.groups.get(&gid).cloned();
        (user.unwrap_or_default(), group.unwrap_or_default())
    }
}

impl Ids {
    /// All users and groups of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::read(|name, id| (name, id))
    }
}

impl<K: Eq + Hash, V> Accounts<K, V> {
    fn read(pair: impl Fn(Vec<u8>, u32) -> (K, V)) -> Self {
        let read = |path| {
            let mut all = HashMap::new();
            for (name, id) in accounts(path) {
                let (key, value) = pair(name, id);
                // The first line with a name or an id counts, as for getpwnam(3) and getpwuid(3).
                all.entry(key).or_insert(value);
            }
            all
        };
        Self {
            users: read("/etc/passwd"),
            groups: read("/etc/group"),
        }
    }
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
