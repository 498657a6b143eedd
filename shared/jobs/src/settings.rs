//! How the table `settings` of the catalog names what a job is.
//!
//! The settings of the job `default` have plain names; those of another job end in a dot and its
//! name. Knows no value.

use std::collections::BTreeMap;

/// The prefix of the settings of all jobs.
pub const PREFIX: &str = "auto_backup_";
/// The job that is meant where none is named.
pub const DEFAULT: &str = "default";

/// The settings of one job, by their names without prefix and job.
pub type Settings = BTreeMap<String, String>;

/// The job of a setting, and the name without prefix and job; `None` of a setting of no job.
pub fn split_name(setting: &str) -> Option<(&str, &str)> {
    let rest = setting.strip_prefix(PREFIX)?;
    Some(match rest.split_once('.') {
        Some((key, job)) => (job, key),
        None => (DEFAULT, rest),
    })
}

/// The full name of a setting of a job.
pub fn full_name(key: &str, job: &str) -> String {
    if job == DEFAULT {
        format!("{PREFIX}{key}")
    } else {
        format!("{PREFIX}{key}.{job}")
    }
}

/// Whether a job makes backups: one that verifies, tests or prunes does that instead.
pub fn makes_backups(settings: &Settings) -> bool {
    let rounds = ["verify", "test_restore", "prune"];
    !rounds.iter().any(|key| settings.contains_key(*key))
}

/// The settings of each job, from pairs of a full name and a value.
pub fn by_job(settings: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Settings> {
    let mut jobs: BTreeMap<String, Settings> = BTreeMap::new();
    for (name, value) in settings {
        if let Some((job, key)) = split_name(&name) {
            let job = jobs.entry(job.to_owned()).or_default();
            job.insert(key.to_owned(), value);
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_put_together_is_taken_apart_again() {
        for (key, job, name) in [
            ("schedule", DEFAULT, "auto_backup_schedule"),
            ("schedule", "db", "auto_backup_schedule.db"),
            ("since", "a.b", "auto_backup_since.a.b"),
        ] {
            assert_eq!(full_name(key, job), name);
            assert_eq!(split_name(name), Some((job, key)));
        }
        assert_eq!(split_name("auto_rounds"), None);
    }
}
