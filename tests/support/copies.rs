//! Locations and copies as the catalog knows them, put there by SQL: nothing is anywhere else.

use crate::support::Sandbox;

impl Sandbox {
    /// Names a location.
    pub fn location(&self, name: &str) {
        self.sql(&format!(
            "INSERT INTO settings VALUES ('location.{name}', '{{}}')"
        ));
    }

    /// Puts a copy of a backup at a location, made an hour after the backup.
    pub fn copy(&self, backup: &str, location: &str, status: &str) {
        let (size, hash, copied) = match status {
            "complete" => ("backup_size", "backup_hash", "created_at + INTERVAL 1 HOUR"),
            _ => ("NULL", "NULL", "NULL"),
        };
        self.sql(&format!(
            "INSERT INTO backup_copies SELECT id, backup_name, '{location}', 'web/archives/' || backup_name || '-0123456789ab.tar.gz',
             NULL, {size}, {hash}, '[]', NULL, NULL, '{status}', NULL, {copied}, NULL, NULL FROM backup_records WHERE backup_name = '{backup}'"
        ));
    }

    /// What the catalog knows of copies: `NAME LOCATION STATUS` of each.
    pub fn copies(&self) -> Vec<String> {
        let catalog = duckdb::Connection::open(self.home().join("catalog.duckdb")).unwrap();
        let sql =
            "SELECT concat_ws(' ', backup_name, location, status) FROM backup_copies ORDER BY ALL";
        let mut rows = catalog.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}
