//! The queries of `backup_records`.
//!
//! Knows the columns; what a session is, its parent tells.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bk_schema::clock::is_in_future;
use bk_schema::event::Event;
use bk_schema::lines::{Identity, Line};
use bk_schema::moving::Move;
use bk_schema::record::{Backup, Latest, Status, check_name};
use duckdb::params;
use duckdb::types::Value;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::archives::spare;
use crate::rows::{BadRow, Unknown, backup_from, match_rows};
use crate::session::{IDS, NAMES, Session, id_list, lists};

/// Columns of `backup_records` in their order, times as microseconds since 1970.
const COLUMNS: &str = "id, backup_name, backup_type, status, source_version, backup_path, backup_size, \
     file_count, compression_type, backup_hash, description, backup_metadata, protected, \
     epoch_us(created_at), epoch_us(expires_at)";

/// Placeholders in one query: a longer list of identities is looked up in parts.
const LOOKUP_CHUNK: usize = 10_000;
/// Records in one update.
const UPDATE_CHUNK: usize = 1000;

type Strings = HashSet<String>;

/// A record with the line that it was asked for by.
pub type Found = Result<(Backup, Map<String, serde_json::Value>)>;

impl Session<'_> {
    /// Every backup, oldest first.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub fn backups(&self) -> Result<Vec<Result<Backup, BadRow>>> {
        self.select("", &[])
    }

    /// The backups that are meant, in the order in which they are.
    ///
    /// # Errors
    /// Those of the query. Each that is unknown, damaged, or named otherwise than its id says
    /// is an error of its own.
    pub fn find(&self, wanted: &[Identity]) -> Result<Vec<Result<Backup>>> {
        let (ids, names) = lists(wanted);
        let mut rows = Vec::new();
        // In two queries: DuckDB passes over the rows that one of them does not ask for.
        if !ids.is_empty() {
            rows.extend(self.select(&format!("WHERE id IN {IDS}"), &[ids.into()])?);
        }
        if !names.is_empty() {
            let condition = format!("WHERE backup_name IN {NAMES}");
            rows.extend(self.select(&condition, &[names.into()])?);
        }
        let mut wanted = wanted.to_vec();
        rows.extend(self.find_held(&mut wanted)?);
        for one in wanted.iter_mut().filter(|it| it.id.is_none()) {
            let named = |row: &Result<Backup, BadRow>| match row {
                Ok(backup) => Some(&backup.backup_name) == one.name.as_ref(),
                Err(bad) => Some(&bad.name) == one.name.as_ref(),
            };
            let Some(latest) = one.latest().filter(|_| !rows.iter().any(named)) else {
                continue;
            };
            if let Some(newest) = self.newest(latest)? {
                *one = Identity::from_id(newest.id);
                rows.push(Ok(newest));
            }
        }
        Ok(match_rows(&wanted, &rows))
    }

    /// The rows of what a location tells of; each that there is one of is wanted by its id from here on.
    fn find_held(&self, wanted: &mut [Identity]) -> Result<Vec<Result<Backup, BadRow>>> {
        let held = wanted.iter().filter_map(|one| one.held.as_ref());
        let hashes: Vec<_> = held.map(|it| it.backup_hash.as_str()).collect();
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let condition = format!("WHERE backup_hash IN {NAMES}");
        let rows = self.select(&condition, &[hashes.join("\n").into()])?;
        let host = self.host()?;
        let mut by_hash: HashMap<_, Vec<_>> = HashMap::new();
        for backup in rows.iter().flatten() {
            let hash = backup.backup_hash.as_deref().unwrap_or_default();
            by_hash.entry(hash).or_default().push(backup);
        }
        for one in wanted {
            let Some(held) = &one.held else { continue };
            let same = by_hash.get(&*held.backup_hash).into_iter().flatten();
            let of_host =
                |it: &&&Backup| host.of(it).unwrap_or(&host.name) == host.present(&held.host);
            // An archive of another program may have several records: they differ by their names.
            let same = same.filter(of_host);
            let found = same.max_by_key(|it| (it.backup_name == held.name, it.id));
            if let Some(found) = found {
                *one = Identity::from_id(found.id);
            }
        }
        Ok(rows)
    }

    /// The newest completed backup, of a job or of all; one from the future only if there is no other.
    fn newest(&self, latest: Latest<'_>) -> Result<Option<Backup>> {
        let rows = self.select("WHERE status = 'completed'", &[])?;
        let is_wanted = |it: &Backup| match latest {
            Latest::OfAll => true,
            Latest::OfJob(job) => it.job() == Some(job),
        };
        let wanted = rows.into_iter().flatten().filter(is_wanted);
        Ok(wanted.max_by_key(|it| {
            let is_past = !is_in_future(it.created_at, self.home.now);
            (is_past, it.created_at, it.id)
        }))
    }

    /// The ids of the backups for which an SQL expression over their columns is true.
    ///
    /// # Errors
    /// Text that is no expression, or has a query in it, and those of DuckDB.
    pub fn ids_where(&self, expression: &str) -> Result<HashSet<i64>> {
        let first_line = |error: anyhow::Error| {
            let text = error.to_string();
            anyhow!(text.lines().next().unwrap_or_default().to_owned())
        };
        // On lines of its own, so that a comment ends with it.
        let select = format!("SELECT (\n{expression}\n)");
        let parsed = "SELECT json_serialize_sql(?::VARCHAR)";
        let parsed: String = self
            .connection
            .query_row(parsed, [select], |row| row.get(0))?;
        check_expression(&serde_json::from_str(&parsed)?)?;
        let sql = format!("SELECT id FROM backup_records WHERE (\n{expression}\n)");
        self.rows(&sql, [], |row| row.get(0)).map_err(first_line)
    }

    /// As [`Session::find`], by their ids.
    pub fn find_ids(&self, ids: impl IntoIterator<Item = i64>) -> Result<Vec<Result<Backup>>> {
        self.find(&ids.into_iter().map(Identity::from_id).collect::<Vec<_>>())
    }

    /// What lines name, in their order, or every backup, oldest first.
    ///
    /// # Errors
    /// As [`Session::find`].
    pub fn found(&self, lines: Option<Vec<Line>>) -> Result<Vec<Found>> {
        let Some(lines) = lines else {
            let rows = self.backups()?.into_iter();
            return Ok(rows.map(|row| Ok((row?, Map::new()))).collect());
        };
        let wanted: Vec<_> = lines.iter().map(|line| line.identity.clone()).collect();
        let rows = self.find(&wanted)?.into_iter();
        let pair = |(row, line): (Result<Backup>, Line)| Ok((row?, line.object));
        Ok(rows.zip(lines).map(pair).collect())
    }

    fn select(&self, condition: &str, values: &[Value]) -> Result<Vec<Result<Backup, BadRow>>> {
        let sql =
            format!("SELECT {COLUMNS} FROM backup_records {condition} ORDER BY created_at, id");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(duckdb::params_from_iter(values))?;
        let mut backups = Vec::new();
        while let Some(row) = rows.next()? {
            backups.push(backup_from(row).map_err(|error| BadRow {
                id: row.get(0).unwrap_or_default(),
                name: row.get(1).unwrap_or_default(),
                reason: format!("{error:#}"),
            }));
        }
        self.add_copies(&mut backups, condition.is_empty())?;
        Ok(backups)
    }

    /// Adds a record and returns it with its id. The `id` that it comes with is not used.
    ///
    /// # Errors
    /// A record that breaks its rules, a name that is taken.
    pub fn insert(&self, backup: &Backup) -> Result<Backup> {
        let id: i64 = self
            .connection
            .query_row("SELECT nextval('backup_id')", [], |row| row.get(0))?;
        let backup = Backup {
            id,
            ..backup.clone()
        };
        backup.check()?;
        self.connection.execute(
            "INSERT INTO backup_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?), make_timestamp(?))",
            duckdb::params_from_iter(values(&backup)),
        )?;
        Ok(backup)
    }

    /// Writes all of a record but its id, its name and its creation.
    ///
    /// # Errors
    /// A record that breaks its rules, or that is no longer there.
    pub fn update(&self, backup: &Backup) -> Result<()> {
        self.update_all(std::slice::from_ref(backup))
    }

    /// As [`Session::update`], each record once; a thousand cost little more than one.
    ///
    /// # Errors
    /// A record that breaks its rules, or that is no longer there.
    pub fn update_all(&self, backups: &[impl Borrow<Backup>]) -> Result<()> {
        for chunk in backups.chunks(UPDATE_CHUNK) {
            let rows =
                vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; chunk.len()].join(", ");
            let sql = format!(
                "UPDATE backup_records SET backup_type = t.type, status = t.status, source_version = t.version, \
                 backup_path = t.path, backup_size = t.size, file_count = t.files, compression_type = t.compression, \
                 backup_hash = t.hash, description = t.description, backup_metadata = t.metadata, \
                 protected = t.protected, expires_at = make_timestamp(t.expires) \
                 FROM (VALUES {rows}) AS t(id, name, type, status, version, path, size, files, compression, \
                 hash, description, metadata, protected, created, expires) WHERE backup_records.id = t.id"
            );
            let mut values = Vec::new();
            for backup in chunk.iter().map(Borrow::borrow) {
                backup.check()?;
                values.extend(self::values(backup));
            }
            let changed = self
                .connection
                .execute(&sql, duckdb::params_from_iter(values))?;
            if changed != chunk.len() {
                return Err(self.gone_of(chunk));
            }
        }
        Ok(())
    }

    /// Which of these records is no longer there.
    fn gone_of(&self, backups: &[impl Borrow<Backup>]) -> anyhow::Error {
        let ids = backups.iter().map(|it| it.borrow().id);
        let found = match self.find_ids(ids) {
            Ok(found) => found,
            Err(error) => return error,
        };
        let gone = |row: Result<Backup>| row.err()?.downcast::<Unknown>().ok();
        match found.into_iter().find_map(gone) {
            Some(Unknown(gone)) => anyhow!("the record {gone} was removed in the meantime"),
            None => anyhow!("a record was to be changed twice at once"),
        }
    }

    /// The record of this name.
    pub fn named(&self, name: &str) -> Result<Option<Backup>> {
        let rows = self.select("WHERE backup_name = ?", &[Value::from(name.to_owned())])?;
        Ok(rows.into_iter().next().transpose()?)
    }

    /// The names and the paths of all records that begin so.
    pub fn taken_beginning(&self, name: &str, path: &str) -> Result<(Strings, Strings)> {
        let sql = "SELECT backup_name, backup_path FROM backup_records \
             WHERE starts_with(backup_name, ?) OR starts_with(backup_path, ?)";
        self.rows(sql, [name, path], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Which of these paths are taken, each with the id and the name of the record whose archive
    /// is there, was, or is on its way there.
    pub fn taken(&self, paths: &[String]) -> Result<HashMap<String, (i64, String)>> {
        let mut taken = HashMap::new();
        for moving in self.with_status(Status::Moving)?.into_iter().flatten() {
            if let Some(Move::To(path) | Move::From(path)) = Move::of(&moving) {
                taken.insert(path, (moving.id, moving.backup_name));
            }
        }
        for chunk in paths.chunks(LOOKUP_CHUNK) {
            let sql = format!(
                "SELECT id, backup_name, backup_path FROM backup_records WHERE backup_path IN ({})",
                vec!["?"; chunk.len()].join(", ")
            );
            let rows: Vec<_> = self.rows(&sql, duckdb::params_from_iter(chunk), |row| {
                Ok((row.get(2)?, (row.get(0)?, row.get(1)?)))
            })?;
            taken.extend(rows);
        }
        Ok(taken)
    }

    /// Those of these archive hashes that no record has.
    pub(crate) fn without_record(&self, hashes: Vec<String>) -> Result<HashSet<String>> {
        if hashes.is_empty() {
            return Ok(HashSet::new());
        }
        let sql = format!("SELECT backup_hash FROM backup_records WHERE backup_hash IN {NAMES}");
        let known: HashSet<String> = self.rows(&sql, [hashes.join("\n")], |row| row.get(0))?;
        let unknown = hashes.into_iter().filter(|it| !known.contains(it));
        Ok(unknown.collect())
    }

    /// Gives records a status, and leaves the rest of them as it is.
    pub fn set_status(&self, ids: &[i64], status: Status) -> Result<()> {
        if !ids.is_empty() {
            let sql = format!("UPDATE backup_records SET status = ? WHERE id IN {IDS}");
            self.connection
                .execute(&sql, params![status.name(), id_list(ids)])?;
        }
        Ok(())
    }

    /// Gives a record another name.
    ///
    /// # Errors
    /// A name that is taken or breaks the rules; a disk that is all but full.
    pub fn rename(&self, id: i64, name: &str) -> Result<()> {
        check_name(name)?;
        self.check_room()?;
        ensure!(
            self.named(name)?.is_none_or(|it| it.id == id),
            "the name '{name}' is taken"
        );
        let sql = "UPDATE backup_records SET backup_name = ? WHERE id = ?";
        self.connection.execute(sql, params![name, id])?;
        Ok(())
    }

    /// Whether the disk takes what is to be written. Asked before a row is replaced in an index:
    /// where the commit of that fails, DuckDB ends the process (1.5.6: "Failed to append to
    /// PRIMARY").
    ///
    /// # Errors
    /// A disk that is full, has no inode left or lets nothing be made.
    pub fn check_room(&self) -> Result<()> {
        spare::check_room(self.home).with_context(|| {
            let catalog = self.home.catalog();
            format!("cannot write the catalog '{}'", catalog.display())
        })
    }

    /// Removes records. The ledger keeps their history.
    pub fn remove(&self, ids: &[i64]) -> Result<()> {
        if !ids.is_empty() {
            let sql = format!("DELETE FROM backup_records WHERE id IN {IDS}");
            self.connection.execute(&sql, params![id_list(ids)])?;
        }
        Ok(())
    }

    /// Removes the record of a failed attempt, of which the ledger keeps the reason.
    pub fn remove_attempt(&self, id: i64, name: &str, reason: &str) -> Result<()> {
        self.remove(&[id])?;
        self.log(&Event {
            backup: Some((id, name)),
            event: "remove",
            ok: true,
            details: json!({ "reason": reason }),
        })
    }

    /// Every record of this status, oldest first.
    ///
    /// # Errors
    /// Those of the query; a bad row is none.
    pub(crate) fn with_status(&self, status: Status) -> Result<Vec<Result<Backup, BadRow>>> {
        let status = Value::from(status.name().to_owned());
        self.select("WHERE status = ?", &[status])
    }
}

/// The values of the columns, in their order.
fn values(backup: &Backup) -> [Value; 15] {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    let number = |number: Option<u64>| number.map_or(Value::Null, Value::UBigInt);
    let micros = |time: Timestamp| Value::BigInt(time.as_microsecond());
    [
        Value::BigInt(backup.id),
        Value::Text(backup.backup_name.clone()),
        Value::Text(backup.backup_type.name().to_owned()),
        Value::Text(backup.status.name().to_owned()),
        text(&backup.source_version),
        Value::Text(backup.backup_path.clone()),
        number(backup.backup_size),
        number(backup.file_count),
        Value::Text(backup.compression_type.clone()),
        text(&backup.backup_hash),
        text(&backup.description),
        Value::Text(serde_json::Value::Object(backup.backup_metadata.clone()).to_string()),
        Value::Boolean(backup.protected),
        micros(backup.created_at),
        backup.expires_at.map_or(Value::Null, micros),
    ]
}

/// Refuses what is more than one expression, by its parse tree: another statement, a table, a query.
fn check_expression(parsed: &Json) -> Result<()> {
    if parsed["error"] == true {
        let message = parsed["error_message"].as_str();
        bail!(message.unwrap_or("it is no expression").to_owned());
    }
    let node = &parsed["statements"][0]["node"];
    let is_one = parsed["statements"]
        .as_array()
        .is_some_and(|it| it.len() == 1)
        && node["type"] == "SELECT_NODE"
        && node["select_list"]
            .as_array()
            .is_some_and(|it| it.len() == 1)
        && node["from_table"]["type"] == "EMPTY"
        && node["modifiers"].as_array().is_some_and(Vec::is_empty)
        && node["group_expressions"]
            .as_array()
            .is_none_or(Vec::is_empty)
        && ["where_clause", "having", "qualify", "sample"]
            .iter()
            .all(|it| node[it].is_null());
    ensure!(is_one, "it is more than one expression");
    ensure!(!has_query(node), "it has a query in it");
    Ok(())
}

fn has_query(tree: &Json) -> bool {
    // It takes a query as a text, and looks at the files that this tells.
    const OF_QUERIES: &str = "json_serialize_plan";
    match tree {
        Json::Object(all) => {
            let is = |key: &str, value: &str| {
                let known = all.get(key).and_then(Json::as_str);
                known.is_some_and(|known| known.eq_ignore_ascii_case(value))
            };
            is("class", "SUBQUERY")
                || is("function_name", OF_QUERIES)
                || all.values().any(has_query)
        }
        Json::Array(all) => all.iter().any(has_query),
        _ => false,
    }
}
