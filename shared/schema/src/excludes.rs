//! What a backup leaves out of its sources, and how its record keeps that.
//!
//! Knows no file, and does not check that a glob is one.

use serde_json::{Map, Value};

/// What to leave out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Excludes {
    /// Names and paths that match one of these globs.
    pub globs: Vec<String>,
    /// The globs ignore case.
    pub ignores_case: bool,
    /// What is in directories with a CACHEDIR.TAG.
    pub caches: bool,
    /// What is in directories with an entry of one of these names.
    pub if_present: Vec<String>,
    /// Files of more bytes.
    pub larger: Option<u64>,
    /// Other file systems.
    pub one_file_system: bool,
}

/// The key of the globs.
pub const GLOBS: &str = "excludes";
/// The key of whether they ignore case.
pub const IGNORES_CASE: &str = "ignore_case_excludes";
/// The key of whether caches are left out.
pub const CACHES: &str = "exclude_caches";
/// The key of the names that mark a directory.
pub const IF_PRESENT: &str = "exclude_if_present";
/// The key of the size.
pub const LARGER: &str = "exclude_larger";
/// The key of whether other file systems are left out.
pub const ONE_FILE_SYSTEM: &str = "one_file_system";

impl Excludes {
    /// Its keys, in the metadata of a record and in a request.
    pub const KEYS: [&str; 6] = [
        GLOBS,
        IGNORES_CASE,
        CACHES,
        IF_PRESENT,
        LARGER,
        ONE_FILE_SYSTEM,
    ];

    /// What a record says. A value of a wrong type counts as absent.
    #[must_use]
    pub fn of(metadata: &Map<String, Value>) -> Self {
        let texts = |key: &str| {
            let all = metadata.get(key).and_then(Value::as_array);
            let texts = all.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let is_set = |key: &str| metadata.get(key) == Some(&Value::Bool(true));
        Self {
            globs: texts(GLOBS),
            ignores_case: is_set(IGNORES_CASE),
            caches: is_set(CACHES),
            if_present: texts(IF_PRESENT),
            larger: metadata.get(LARGER).and_then(Value::as_u64),
            one_file_system: is_set(ONE_FILE_SYSTEM),
        }
    }

    /// Adds it to the metadata of a record; what is not asked for has no key.
    pub fn put(&self, metadata: &mut Map<String, Value>) {
        let texts = |all: &[String]| (!all.is_empty()).then(|| Value::from(all));
        let set = |is_set: bool| is_set.then_some(Value::Bool(true));
        for (key, value) in [
            (GLOBS, texts(&self.globs)),
            (IGNORES_CASE, set(self.ignores_case)),
            (CACHES, set(self.caches)),
            (IF_PRESENT, texts(&self.if_present)),
            (LARGER, self.larger.map(Value::from)),
            (ONE_FILE_SYSTEM, set(self.one_file_system)),
        ] {
            metadata.extend(value.map(|value| (key.to_owned(), value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_was_left_out() {
        let mut metadata = Map::new();
        Excludes::default().put(&mut metadata);
        assert_eq!(metadata, Map::new());
        let all = Excludes {
            globs: vec!["*.o".into()],
            ignores_case: true,
            caches: true,
            if_present: vec![".nobackup".into()],
            larger: Some(0),
            one_file_system: true,
        };
        all.put(&mut metadata);
        assert!(metadata.keys().eq(Excludes::KEYS));
        assert_eq!(Excludes::of(&metadata), all);
        for value in metadata.values_mut() {
            *value = Value::from("x");
        }
        assert_eq!(Excludes::of(&metadata), Excludes::default());
    }
}
