//! The flags of a program as one const table, and the parsed command line.
//!
//! The table also drives `--help` and the completions. Knows no record.

use std::ffi::OsString;

use anyhow::Result;

use crate::message::{UsageError, usage};

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Without its dashes.
    pub long: &'static str,
    /// Without its dash.
    pub short: Option<char>,
    /// The placeholder of its value, or all values as `a|b`; `None` if it takes none. In brackets,
    /// as `[a|b]`, the value is optional: it follows `=`, or is the next word if that is one of the
    /// values.
    pub value: Option<&'static str>,
    /// Its description in `--help`: one line.
    pub help: &'static str,
}

impl Flag {
    /// With a short name too.
    #[must_use]
    pub const fn short(self, letter: char) -> Self {
        Self {
            short: Some(letter),
            ..self
        }
    }

    /// The values of a flag whose value is optional; `None` for any other flag.
    pub fn optional_values(&self) -> Option<impl Iterator<Item = &'static str>> {
        let inner = self.value?.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.split('|'))
    }
}

/// For the table: a flag without a value.
pub const fn switch(long: &'static str, help: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        value: None,
        help,
    }
}

/// For the table: a flag with a value; its placeholder comes second.
pub const fn option(long: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag {
        value: Some(value),
        ..switch(long, help)
    }
}

/// Declares each flag of a program as a constant, and the table `FLAGS` of them all, so that no
/// code can ask for a flag that is not in the table.
#[macro_export]
macro_rules! flags {
    ($($name:ident = $flag:expr;)*) => {
        $(pub(crate) const $name: $crate::Flag = $flag;)*
        pub(crate) const FLAGS: &[$crate::Flag] = &[$($name),*];
    };
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of the command.
    pub name: &'static str,
    /// What it does: one line for `--help`.
    pub summary: &'static str,
    /// The usage line without the name of the command.
    pub usage: &'static str,
    /// Its own flags, beside [`COMMON`].
    pub flags: &'static [Flag],
    /// What its operands are, for parsing and completions.
    pub operands: Operands,
}

/// What the operands of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Files and directories.
    Paths,
    /// Ids and names of backups.
    Backups,
    /// The same, and a directory last.
    BackupsThenDirectory,
    /// Names of jobs, and after `--` what they back up.
    Jobs,
    /// None: an operand is a usage error.
    None,
}

/// Where the catalog is.
pub const HOME: Flag = option("home", "DIR", "where the catalog is");
/// How long to wait for the lock of the catalog.
pub const LOCK_TIMEOUT: Flag = option(
    "lock-timeout",
    "SPAN",
    "how long to wait for the catalog (60s)",
);
/// JSON lines, on a terminal too.
pub const JSON: Flag = switch("json", "print JSON lines, on a terminal too");
/// A table, into a pipe too.
pub const TABLE: Flag = switch("table", "print a table, into a pipe too");
/// A table with nothing left out.
pub const WIDE: Flag = switch(
    "wide",
    "print a table with all columns, as wide as it needs",
);
pub(crate) const COMPLETIONS: Flag = option(
    "completions",
    "bash|zsh|fish",
    "print the completions for a shell",
);
pub(crate) const HELP: Flag = switch("help", "print this help").short('h');
pub(crate) const VERSION: Flag = switch("version", "print the version").short('V');

/// The flags of every program.
pub const COMMON: &[Flag] = &[
    HOME,
    LOCK_TIMEOUT,
    JSON,
    TABLE,
    WIDE,
    COMPLETIONS,
    HELP,
    VERSION,
];

/// The parsed command line: known flags with their values, and operands.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments {
    flags: Vec<(&'static str, Option<OsString>)>,
    /// Everything that is not a flag, in order.
    pub operands: Vec<OsString>,
    /// The number of operands before `--`, if that was given.
    pub before_dashes: Option<usize>,
}

impl Arguments {
    /// Whether the flag was given.
    pub fn has(&self, flag: &Flag) -> bool {
        self.flags.iter().any(|(name, _)| *name == flag.long)
    }

    /// The value of a flag, the last one if it was repeated.
    pub fn value(&self, flag: &Flag) -> Option<&OsString> {
        self.values(flag).last()
    }

    /// The value of a flag as text.
    ///
    /// # Errors
    /// [`UsageError`] if it is not UTF-8.
    pub fn text(&self, flag: &Flag) -> Result<Option<&str>> {
        self.value(flag).map(|value| utf8(flag, value)).transpose()
    }

    /// All values of a repeated flag as text.
    ///
    /// # Errors
    /// [`UsageError`] if one is not UTF-8.
    pub fn texts(&self, flag: &Flag) -> Result<Vec<&str>> {
        self.values(flag).map(|value| utf8(flag, value)).collect()
    }

    /// The value of a flag, parsed.
    ///
    /// # Errors
    /// [`UsageError`] that names the flag.
    pub fn parsed<T>(
        &self,
        flag: &Flag,
        parse: impl FnOnce(&str) -> Result<T>,
    ) -> Result<Option<T>> {
        let parse = |text| parse(text).map_err(|e| usage(&e, &format!("--{}", flag.long)));
        self.text(flag)?.map(parse).transpose()
    }

    /// All values of a repeated flag, parsed.
    ///
    /// # Errors
    /// [`UsageError`] that names the flag.
    pub fn all_parsed<T>(&self, flag: &Flag, parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
        let parse = |text| parse(text).map_err(|e| usage(&e, &format!("--{}", flag.long)));
        self.texts(flag)?.into_iter().map(parse).collect()
    }

    /// The value that goes with the one flag that was given out of several that exclude each other;
    /// `None` if none of them was.
    ///
    /// # Errors
    /// [`UsageError`] that names two of them that were given.
    pub fn one_of<T: Copy>(&self, flags: &[(Flag, T)]) -> Result<Option<T>> {
        let mut given = flags.iter().filter(|(flag, _)| self.has(flag));
        match (given.next(), given.next()) {
            (Some((one, _)), Some((other, _))) => {
                let text = format!("--{} and --{} exclude each other", one.long, other.long);
                Err(UsageError(text).into())
            }
            (one, _) => Ok(one.map(|(_, value)| *value)),
        }
    }

    /// All values of a repeated flag, in order.
    pub fn values(&self, flag: &Flag) -> impl Iterator<Item = &OsString> {
        self.flags
            .iter()
            .filter(move |(name, _)| *name == flag.long)
            .filter_map(|(_, value)| value.as_ref())
    }
}

impl Program {
    /// Its own flags, then [`COMMON`].
    pub fn all_flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().chain(COMMON)
    }

    /// Parses a command line.
    ///
    /// # Errors
    /// [`UsageError`]: an unknown flag, a missing value, an unexpected value or operand.
    pub fn parse(&self, typed: impl IntoIterator<Item = OsString>) -> Result<Arguments> {
        use lexopt::Arg::{Long, Short, Value};
        let usage =
            |error: lexopt::Error| UsageError(format!("{error}; try '{} --help'", self.name));
        let mut parser = lexopt::Parser::from_args(typed);
        let mut arguments = Arguments::default();
        loop {
            let is_dashes = |raw: lexopt::RawArgs<'_>| raw.peek().is_some_and(|it| it == "--");
            if arguments.before_dashes.is_none() && parser.try_raw_args().is_some_and(is_dashes) {
                arguments.before_dashes = Some(arguments.operands.len());
            }
            let Some(argument) = parser.next().map_err(usage)? else {
                break;
            };
            let flag = match &argument {
                Long(name) => self.all_flags().find(|flag| flag.long == *name),
                Short(letter) => self.all_flags().find(|flag| flag.short == Some(*letter)),
                Value(_) if self.operands == Operands::None => {
                    return Err(usage(argument.unexpected()).into());
                }
                Value(operand) => {
                    arguments.operands.push(operand.clone());
                    continue;
                }
            };
            let Some(flag) = flag else {
                return Err(usage(argument.unexpected()).into());
            };
            let value = match (flag.value, flag.optional_values()) {
                (None, _) => None,
                (_, Some(values)) => optional_value(&mut parser, values),
                (Some(_), None) => Some(parser.value().map_err(usage)?),
            };
            arguments.flags.push((flag.long, value));
        }
        Ok(arguments)
    }
}

/// The value after `=`, or the next word if that is one of the values.
fn optional_value(
    parser: &mut lexopt::Parser,
    mut values: impl Iterator<Item = &'static str>,
) -> Option<OsString> {
    if let Some(value) = parser.optional_value() {
        return Some(value);
    }
    let mut rest = parser.try_raw_args()?;
    rest.next_if(|word| values.any(|value| word == value))
}

fn utf8<'a>(flag: &Flag, value: &'a OsString) -> Result<&'a str> {
    let text = value.to_str();
    text.ok_or_else(|| {
        UsageError(format!(
            "--{}: '{}' is not UTF-8",
            flag.long,
            value.display()
        ))
        .into()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::{USAGE, status_of};

    flags! {
        TYPE = option("type", "TYPE", "of what type").short('t');
        ALL = switch("all", "all");
        BY = option("by", "[day|week]", "by which").short('b');
    }

    const PROGRAM: Program = Program {
        name: "bk-test",
        summary: "tests",
        usage: "[flags] [NAME...]",
        operands: Operands::Backups,
        flags: FLAGS,
    };

    fn parse(typed: &[&str]) -> Result<Arguments> {
        PROGRAM.parse(typed.iter().map(OsString::from))
    }

    #[test]
    fn flags_values_and_operands_are_told_apart() {
        let arguments = parse(&["a", "-tx", "--type=y", "--all", "-", "--", "--all"]).unwrap();
        assert!(arguments.has(&ALL) && !arguments.has(&HOME));
        assert_eq!(arguments.value(&TYPE).unwrap(), "y");
        assert_eq!(arguments.values(&TYPE).count(), 2);
        assert_eq!(arguments.operands, ["a", "-", "--all"]);
        assert_eq!(arguments.before_dashes, Some(2));
        assert_eq!(parse(&["--type", "--", "a"]).unwrap().before_dashes, None);
    }

    #[test]
    fn a_value_may_be_left_out_where_the_table_says_so() {
        for (typed, value, operands) in [
            (&["--by"][..], None, &[][..]),
            (&["--by=week"], Some("week"), &[]),
            (&["--by", "week", "week"], Some("week"), &["week"]),
            (&["-b", "day"], Some("day"), &[]),
            (&["-bday", "x"], Some("day"), &["x"]),
            (&["--by", "x"], None, &["x"]),
            (&["--by", "--", "week"], None, &["week"]),
            (&["--by", "--all"], None, &[]),
            // The program rejects other values.
            (&["--by=x"], Some("x"), &[]),
        ] {
            let arguments = parse(typed).unwrap();
            assert!(arguments.has(&BY), "{typed:?}");
            let given = arguments.text(&BY).unwrap();
            assert_eq!(given, value, "{typed:?}");
            assert_eq!(arguments.operands, operands, "{typed:?}");
        }
    }

    #[test]
    fn a_mistake_is_a_usage_error_that_names_the_help() {
        for typed in [&["--nope"][..], &["-x"], &["--type"], &["--all=1"]] {
            let error = parse(typed).unwrap_err();
            assert_eq!(status_of(&error), USAGE, "{error}");
            assert!(
                error.to_string().ends_with("; try 'bk-test --help'"),
                "{error}"
            );
        }
    }

    #[test]
    fn help_has_every_flag() {
        let help = PROGRAM.help();
        for flag in PROGRAM.all_flags() {
            assert!(help.contains(&format!("--{}", flag.long)), "{help}");
        }
        assert!(
            help.contains("      --completions bash|zsh|fish\n                           print")
                && help.contains("  -t, --type TYPE          of what type\n"),
            "{help}"
        );
    }
}
