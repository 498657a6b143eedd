//! What completes a flag's value and an operand, whatever the shell.
//!
//! Knows no shell's syntax but that of the pipe which prints names.

use crate::flags::Flag;

/// Names that a program prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// What they are.
    pub(crate) word: &'static str,
    pub(crate) command: &'static str,
    /// What stands before a name on its line, as a regular expression.
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

impl Names {
    /// The command line that prints the names, one a line; `home` is how the shell writes the
    /// flag --home that was typed.
    pub(crate) fn printed(self, home: &str) -> String {
        let Self { command, .. } = self;
        // A completion is not worth waiting for.
        let program = format!("{command} --json --lock-timeout 1s {home} 2>/dev/null");
        format!("{program} | sed -En {}", self.sed())
    }

    /// Takes the names out of the lines, and the backslashes of JSON out of the names, which hold
    /// no control characters.
    pub(crate) fn sed(self) -> String {
        let Self { before, .. } = self;
        let name = r#""((\\.|[^"\\])*)""#;
        format!(r"-e '/^{before}/!d' -e 's/^{before}{name}.*/\1/' -e 's/\\(.)/\1/g' -e p")
    }
}

/// What completes a flag's value.
pub(crate) enum Values<'a> {
    None,
    Directories,
    Files,
    Of(Vec<&'a str>),
    Any,
}

pub(crate) fn values(flag: &Flag) -> Values<'_> {
    match flag.value {
        None => Values::None,
        Some("DIR") => Values::Directories,
        Some("FILE") => Values::Files,
        Some(listed) if listed.contains('|') => {
            Values::Of(listed.trim_matches(['[', ']']).split('|').collect())
        }
        Some(_) => Values::Any,
    }
}

pub(crate) fn spellings(flag: &Flag, between: &str) -> String {
    let short = flag.short.map(|letter| format!("-{letter}{between}"));
    format!("{}--{}", short.unwrap_or_default(), flag.long)
}
