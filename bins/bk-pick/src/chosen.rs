//! What was chosen, as it is printed: records of backups, and lines of files in them.
//!
//! Knows no terminal.

use anyhow::Result;
use bk_cli::listing::{self, Listed};
use bk_cli::{Cell, Column, Cut, Output};
use serde_json::{Map, Value};

use crate::files::Name;

/// The keys that tell something of a file. They are not passed through: another file is meant.
const OF_A_FILE: [&str; 16] = [
    "path",
    "path_base64",
    "type",
    "size",
    "mtime",
    "mode",
    "uid",
    "gid",
    "uname",
    "gname",
    "link",
    "link_base64",
    "first_id",
    "first_backup_name",
    "first_created_at",
    "backup_count",
];

/// One line of output.
#[derive(Debug)]
pub(crate) enum Chosen {
    Backup(Box<Listed>),
    File(File),
}

/// A file, or a directory with all in it.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) line: Map<String, Value>,
    path: String,
    backup_name: String,
}

impl File {
    /// The keys are those of bk-find, without `type`: bk-restore then takes a directory with what is in
    /// it.
    pub(crate) fn new(listed: &Listed, name: &Name) -> Self {
        let backup = &listed.backup;
        let mut line = Map::new();
        line.insert("id".into(), backup.id.into());
        line.insert("backup_name".into(), backup.backup_name.clone().into());
        line.insert("created_at".into(), backup.created_at.to_string().into());
        line.insert("path".into(), Value::from(&*name.path));
        if let Some(base64) = &name.base64 {
            line.insert("path_base64".into(), Value::from(&**base64));
        }
        for (key, value) in &listed.passed {
            if !OF_A_FILE.contains(&key.as_str()) && !line.contains_key(key) {
                line.insert(key.clone(), value.clone());
            }
        }
        Self {
            line,
            path: name.path.to_string(),
            backup_name: backup.backup_name.clone(),
        }
    }
}

/// Prints it, as JSON lines or as tables.
pub(crate) fn print(output: &mut Output, chosen: Vec<Chosen>) -> Result<()> {
    if !output.is_table() {
        for one in chosen {
            match one {
                Chosen::Backup(listed) => output.line(&listed)?,
                Chosen::File(file) => output.line(&file.line)?,
            }
        }
        return output.flush();
    }
    let (mut backups, mut files) = (Vec::new(), Vec::new());
    for one in chosen {
        match one {
            Chosen::Backup(listed) => backups.push(*listed),
            Chosen::File(file) => {
                files.push(vec![Cell::from(file.path), Cell::from(file.backup_name)]);
            }
        }
    }
    if !backups.is_empty() {
        listing::print(output, backups)?;
    }
    if !files.is_empty() {
        let path = Column::left("PATH").cut(Cut::Middle, 20);
        let columns = [path, Column::left("BACKUP").cut(Cut::Middle, 10)];
        output.table(&columns, &files)?;
    }
    output.flush()
}
