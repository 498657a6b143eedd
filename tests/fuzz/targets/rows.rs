//! Any values in a row of the catalog: a record that keeps its rules, or an error.
#![no_main]

use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use libfuzzer_sys::fuzz_target;

use bk_schema::record;

#[allow(dead_code, missing_docs)]
#[path = "../../../shared/store/src/rows.rs"]
mod rows;

thread_local! {
    static CATALOG: Connection = Connection::open_in_memory().expect("a catalog in memory");
}

/// In the order and with the types of the table.
const SQL: &str = "SELECT ?::BIGINT, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::BIGINT, \
    ?::BIGINT, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::BOOLEAN, \
    epoch_us(make_timestamp(?)), epoch_us(make_timestamp(?))";

fuzz_target!(|data: &[u8]| {
    let values = values(data);
    CATALOG.with(|catalog| {
        let mut statement = catalog.prepare_cached(SQL).expect("the query");
        let Ok(mut all) = statement.query(params_from_iter(values)) else {
            // A time that DuckDB itself cannot hold.
            return;
        };
        while let Ok(Some(row)) = all.next() {
            if let Ok(backup) = rows::backup_from(row) {
                backup.check().expect("it was checked");
                let text = serde_json::to_string(&backup).expect("a record is JSON");
                let again: record::Backup = serde_json::from_str(&text).expect("a line");
                assert_eq!(again, backup);
            }
        }
    });
});

/// Fifteen values, parted by a byte that no text holds; what is left out is as in a good row.
fn values(data: &[u8]) -> Vec<Value> {
    let mut parts = data.split(|byte| *byte == 0xff);
    let mut text = |good: &str| match parts.next() {
        None | Some(b"") => Value::Text(good.to_owned()),
        Some(b"\0") => Value::Null,
        Some(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
    };
    let number = |value: Value| match value {
        Value::Text(text) => match text.parse() {
            Ok(number) => Value::BigInt(number),
            Err(_) => Value::BigInt(i64::from_le_bytes(first_bytes(text.as_bytes()))),
        },
        other => other,
    };
    vec![
        number(text("1")),
        text("name"),
        text("manual"),
        text("completed"),
        text("1.0"),
        text("/archives/name.tar.gz"),
        number(text("10")),
        number(text("1")),
        text("gzip"),
        text(&"0".repeat(64)),
        text("what it is"),
        text("{}"),
        Value::Boolean(data.first().is_some_and(|byte| byte & 1 == 1)),
        number(text("1000000")),
        number(text("2000000")),
    ]
}

fn first_bytes(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    let count = bytes.len().min(8);
    first[..count].copy_from_slice(&bytes[..count]);
    first
}
