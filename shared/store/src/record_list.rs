//! Lists of records, as texts, in Parquet files: what a location holds, together in one object.
//!
//! The files are in memory alone. Knows neither what is in the texts nor where the files go.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use duckdb::{Connection, params};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::engine::connect;
use crate::manifest::table::quoted;

/// Where the system shows the files of this process, those without a name too.
const FILES: &str = "/proc/self/fd";

/// The content of a Parquet file with one column, `record`.
///
/// # Errors
/// More than fits into the memory that DuckDB may take, and those of the system.
pub fn write(texts: &[String]) -> Result<Vec<u8>> {
    let (connection, mut file) = (connect(Path::new(FILES))?, memory_file()?);
    connection.execute_batch("CREATE OR REPLACE TEMP TABLE list (record VARCHAR)")?;
    let mut rows = connection.appender("list")?;
    for text in texts {
        rows.append_row(params![text])?;
    }
    rows.flush()?;
    drop(rows);
    let written = connection.execute_batch(&format!(
        "COPY (SELECT record FROM list) TO {} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false);
         DROP TABLE list",
        place_of(&file)?
    ));
    written.context("cannot make the list")?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Reads such files.
pub struct Reader(Connection);

impl Reader {
    /// # Errors
    /// Those of DuckDB and of the system.
    pub fn new() -> Result<Self> {
        Ok(Self(connect(Path::new(FILES))?))
    }

    /// The texts of a file, in their order.
    ///
    /// # Errors
    /// What is no such file.
    pub fn read(&self, content: &[u8]) -> Result<Vec<String>> {
        let mut file = memory_file()?;
        file.write_all(content)?;
        let place = place_of(&file)?;
        let sql = format!("SELECT record::VARCHAR FROM read_parquet({place})");
        let mut statement = self.0.prepare(&sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn memory_file() -> Result<File> {
    Ok(memfd_create("bk-list", MemfdFlags::CLOEXEC)?.into())
}

/// By the number of the process, as DuckDB makes of it.
fn place_of(file: &File) -> Result<String> {
    let files = Path::new(FILES).canonicalize()?;
    let place = files.join(file.as_raw_fd().to_string());
    Ok(quoted(&place.display().to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_no_list_is_an_error() {
        let text = |number: u32| format!("{{\"n\":{number},\"it's\":\"\u{e9}\\n\"}}");
        for count in [0, 1, 3000] {
            let texts: Vec<_> = (0..count).map(text).collect();
            let content = write(&texts).unwrap();
            let reader = Reader::new().unwrap();
            assert_eq!(reader.read(&content).unwrap(), texts);
            assert_eq!(reader.read(&content).unwrap(), texts);
            let mut torn = content.clone();
            torn.truncate(content.len() - 1);
            assert!(reader.read(&torn).is_err());
            assert!(reader.read(b"").is_err());
            assert_eq!(reader.read(&content).unwrap(), texts);
        }
    }
}
