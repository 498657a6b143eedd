//! The estimate of a backup: a view of its plan, for `--estimate` and for the check of the space.
//!
//! Computes nothing.

use anyhow::{Result, ensure};
use bk_cli::units::human_size;
use serde::Serialize;
use serde_json::{Map, Value};

/// What a backup would take.
#[derive(Debug, Serialize)]
pub(crate) struct Estimate<'a> {
    pub(crate) sources: &'a Value,
    /// Entries that are not directories.
    pub(crate) file_count: u64,
    pub(crate) content_bytes: u64,
    /// Of the archive, in bytes.
    pub(crate) estimated_size: u64,
    pub(crate) estimated_from: &'static str,
    pub(crate) storage: &'a str,
    /// `None` where the file system reports no figures.
    pub(crate) available_bytes: Option<u64>,
    pub(crate) reserve_bytes: u64,
    pub(crate) fits: bool,
    /// Keys of the request that bk-create does not know.
    #[serde(flatten)]
    pub(crate) passed: &'a Map<String, Value>,
}

impl Estimate<'_> {
    /// # Errors
    /// An archive that does not fit, with both figures.
    pub(crate) fn check_fits(&self) -> Result<()> {
        ensure!(
            self.fits,
            "cannot back up: the archive needs about {} and {} are to stay free, but '{}' has {} free; make space, or name another --storage",
            human_size(self.estimated_size),
            human_size(self.reserve_bytes),
            self.storage,
            self.available()
        );
        Ok(())
    }

    /// As the table shows it.
    pub(crate) fn text(&self) -> String {
        format!(
            "files      {}\ncontent    {}\narchive    about {} (from {})\nstorage    {}\nfree       {}, of which {} are to stay so\nfits       {}\n",
            self.file_count,
            human_size(self.content_bytes),
            human_size(self.estimated_size),
            match self.estimated_from {
                "sample" => "a sample of the data",
                _ => "an earlier backup",
            },
            self.storage,
            self.available(),
            human_size(self.reserve_bytes),
            if self.fits { "yes" } else { "no" },
        )
    }

    fn available(&self) -> String {
        let size = self.available_bytes.map(human_size);
        size.unwrap_or_else(|| "an unknown size".to_owned())
    }
}
