//! Segments as a table that DuckDB reads while they come, so that none of them waits for the end of the
//! archive.
//!
//! Knows no file that they go to.

use std::cell::RefCell;
use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bk_schema::manifest::Segment;
use duckdb::Connection;
use duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use duckdb::vtab::{BindInfo, InitInfo, TableFunctionInfo, VTab};

use crate::archives::space::Space;
use crate::manifest::columns::{self, Row};
use crate::manifest::table::COLUMNS;

/// So much space is left to the catalog, which matters more; of a small disk a sixteenth.
const SPARE_BYTES: u64 = 4 << 20;

/// The table, in SQL.
pub(super) const TABLE: &str = "entries()";

/// Makes the table known.
pub(crate) fn register(connection: &Connection) -> duckdb::Result<()> {
    connection.register_table_function::<Table>("entries")
}

/// Runs a statement that reads the table once, which has what `batches` has.
///
/// # Errors
/// Those of DuckDB, a disk that is full soon, entries that no row can hold.
pub(super) fn run(
    connection: &Connection,
    sql: &str,
    dir: PathBuf,
    batches: Receiver<Vec<Segment>>,
) -> Result<()> {
    let stream = Shared::new(Mutex::new(Stream {
        batches,
        dir,
        rows: Vec::new(),
        given: 0,
        error: None,
    }));
    STREAM.set(Some(stream.clone()));
    let done = connection.execute_batch(sql);
    STREAM.set(None);
    let error = lock(&stream).error.take();
    error.map_or(Ok(done?), Err)
}

struct Stream {
    batches: Receiver<Vec<Segment>>,
    /// Where they are written.
    dir: PathBuf,
    rows: Vec<Row>,
    /// How many of these DuckDB has.
    given: usize,
    /// Why there are no more, to be told as it is.
    error: Option<anyhow::Error>,
}

type Shared = Arc<Mutex<Stream>>;

thread_local! {
    /// Of the statement that this thread begins: to a table function, DuckDB passes plain values only.
    static STREAM: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

impl Stream {
    /// The next rows; none at the end.
    fn next(&mut self, count_max: usize) -> Result<&[Row]> {
        while self.given == self.rows.len() {
            let Ok(segments) = self.batches.recv() else {
                return Ok(&[]);
            };
            self.check_space()?;
            self.rows = columns::of_segments(segments)?;
            self.given = 0;
        }
        let from = self.given;
        self.given = self.rows.len().min(from + count_max);
        Ok(&self.rows[from..self.given])
    }

    fn check_space(&self) -> Result<()> {
        let Some(space) = Space::at(&self.dir)? else {
            return Ok(());
        };
        let spare_bytes = SPARE_BYTES.min(space.total_bytes / 16);
        ensure!(
            space.available_bytes >= spare_bytes,
            "what little space there is is left to the catalog"
        );
        Ok(())
    }
}

fn lock(stream: &Shared) -> std::sync::MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Table;

impl VTab for Table {
    type InitData = ();
    type BindData = Shared;

    fn bind(bind: &BindInfo) -> Result<Shared, Box<dyn Error>> {
        let stream = STREAM.with_borrow(Clone::clone);
        let stream = stream.context("there is nothing to read")?;
        for (name, kind) in COLUMNS {
            let kind = match *kind {
                "BLOB" => LogicalTypeId::Blob,
                _ => LogicalTypeId::Varchar,
            };
            bind.add_result_column(name, LogicalTypeHandle::from(kind));
        }
        Ok(stream)
    }

    fn init(_: &InitInfo) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn func(
        info: &TableFunctionInfo<Self>,
        output: &mut DataChunkHandle,
    ) -> Result<(), Box<dyn Error>> {
        let mut stream = lock(info.get_bind_data());
        let count_max = output.flat_vector(0).capacity();
        match stream.next(count_max) {
            Ok(rows) => {
                columns::write(rows, output);
                output.set_len(rows.len());
            }
            Err(error) => {
                stream.error = Some(error);
                return Err("there are no more entries".into());
            }
        }
        Ok(())
    }
}
