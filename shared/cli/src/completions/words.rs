//! The candidates for a flag's value and for an operand, the same for every shell.
//!
//! Knows no shell syntax but that of the pipe that prints names.

use crate::flags::{Flag, Operands, Program};

/// Names to be taken from the JSON lines that a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Names {
    /// What they are.
    pub(crate) word: &'static str,
    pub(crate) command: &'static str,
    /// What precedes the name on its line, as an extended regular expression of sed(1).
    pub(crate) before: &'static str,
}

pub(crate) const BACKUPS: Names = Names {
    word: "backup",
    command: "bk-ls",
    before: r#"\{"id":[0-9]+,"backup_name":"#,
};
pub(crate) const JOBS: Names = Names {
    word: "job",
    command: "bk-auto --list",
    before: r#"\{"job":"#,
};
pub(crate) const LOCATIONS: Names = Names {
    word: "location",
    command: "bk-push --list",
    before: r#"\{"location":"#,
};

impl Names {
    /// The pipeline that prints the names, one per line; `home` is shell code for the `--home DIR`
    /// that the user typed.
    pub(crate) fn printed(self, home: &str) -> String {
        let Self { command, .. } = self;
        // A completion is not worth waiting for.
        let program = format!("{command} --json --lock-timeout 1s {home} 2>/dev/null");
        format!("{program} | sed -En {}", self.sed())
    }

    /// The sed(1) script that extracts the names and removes the backslashes of JSON. Names have no
    /// control characters, so nothing else is escaped.
    pub(crate) fn sed(self) -> String {
        let Self { before, .. } = self;
        let name = r#""((\\.|[^"\\])*)""#;
        format!(r"-e '/^{before}/!d' -e 's/^{before}{name}.*/\1/' -e 's/\\(.)/\1/g' -e p")
    }
}

/// The candidates for a flag's value.
pub(crate) enum Values<'a> {
    None,
    Directories,
    Files,
    Of(Vec<&'a str>),
    /// Names that bk knows.
    Known(Names),
    Any,
}

pub(crate) fn values(flag: &Flag) -> Values<'_> {
    match flag.value {
        None => Values::None,
        Some("DIR") => Values::Directories,
        Some("FILE") => Values::Files,
        Some("JOB") => Values::Known(JOBS),
        Some("BACKUP") => Values::Known(BACKUPS),
        Some("LOCATION") => Values::Known(LOCATIONS),
        Some(listed) if listed.contains('|') => {
            let all = listed.trim_matches(['[', ']']).split('|');
            // Without what may follow: `zstd[:LEVEL]`.
            let all = all.map(|value| value.split('[').next().unwrap_or(value));
            Values::Of(all.collect())
        }
        Some(_) => Values::Any,
    }
}

/// What the operands of a program and the values of its flags take from the catalog.
pub(crate) fn known(program: &Program) -> Vec<Names> {
    let operands = match program.operands {
        Operands::Backups | Operands::BackupsThenDirectory => Some(BACKUPS),
        Operands::Jobs => Some(JOBS),
        Operands::Paths | Operands::None => None,
    };
    let of_flag = |flag: &Flag| match values(flag) {
        Values::Known(names) => Some(names),
        _ => None,
    };
    let of_flags: Vec<_> = program
        .all_flags()
        .filter_map(of_flag)
        .chain(operands)
        .collect();
    let all = [BACKUPS, JOBS, LOCATIONS].into_iter();
    all.filter(|names| of_flags.contains(names)).collect()
}

pub(crate) fn spellings(flag: &Flag, between: &str) -> String {
    let short = flag.short.map(|letter| format!("-{letter}{between}"));
    format!("{}--{}", short.unwrap_or_default(), flag.long)
}
