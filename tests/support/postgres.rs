//! A private PostgreSQL server on a socket, in a directory of its own.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{lacks, nobody};

/// A server that is stopped, and its directory removed, when this is dropped.
pub struct Postgres {
    programs: PathBuf,
    dir: tempfile::TempDir,
}

impl Postgres {
    /// `None` where it is not installed.
    pub fn start() -> Option<Self> {
        let installed = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let programs = installed.map(|it| it.unwrap().path().join("bin"));
        let Some(programs) = programs.filter(|it| it.join("initdb").exists()).max() else {
            lacks("postgresql is not installed");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("bk-pg-").tempdir().unwrap();
        nobody::give(dir.path());
        let server = Self { programs, dir };
        server.run("initdb -D data --no-sync -A trust -U bk -E UTF8 --locale=C >log 2>&1");
        server.run(
            "pg_ctl -D data -w -l log -o \"-k $PWD -c listen_addresses='' -c fsync=off\" start >>log",
        );
        Some(server)
    }

    /// As if it crashed.
    pub fn stop(&self) {
        self.run("pg_ctl -D data -m immediate stop >>log");
    }

    /// How a shell reaches it: a line that goes before commands of the client.
    pub fn environment(&self) -> String {
        format!(
            "export PATH={}:$PATH PGHOST={} PGUSER=bk;",
            self.programs.display(),
            self.dir.path().display()
        )
    }

    fn run(&self, line: &str) {
        let status = self.command(line).status().unwrap();
        let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{line}: {}", log());
    }

    fn command(&self, line: &str) -> Command {
        let mut command = nobody::command("sh");
        let line = format!("PATH={}:$PATH; {line}", self.programs.display());
        command.args(["-c", &line]).current_dir(self.dir.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = self.command("pg_ctl -D data -m immediate stop").output();
    }
}
