//! The command line that every program shares: the flag table, help, errors, exit statuses.
//!
//! A program's flags are one const table; it drives the parsing, `--help` and the completions.
//! Knows no `Backup`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::completions;
use crate::lock;
use crate::visible::visible;
use crate::zone;

/// All done.
pub const DONE: u8 = 0;
/// Some records failed, the rest were done.
pub const SOME_FAILED: u8 = 1;
/// Usage or bad input; nothing done.
pub const USAGE: u8 = 2;
/// The catalog stayed locked (EX_TEMPFAIL of sysexits.h).
pub const LOCKED: u8 = 75;

/// A flag that takes more of the line in `--help` has its help on the next one.
const HELP_WIDTH: usize = 30;

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without its dashes.
    pub long: &'static str,
    /// Without its dash.
    pub short: Option<char>,
    /// The placeholder of its value, or all values as `a|b`; `None` where it takes none. In
    /// brackets, as `[a|b]`, it may be left out: it is what stands behind `=`, or the next word
    /// where that is one of the values.
    pub value: Option<&'static str>,
    /// One line for `--help`.
    pub help: &'static str,
}

impl Flag {
    /// A flag of its long and short name, its value's placeholder and its help.
    #[must_use]
    pub const fn new(
        long: &'static str,
        short: Option<char>,
        value: Option<&'static str>,
        help: &'static str,
    ) -> Self {
        Self {
            long,
            short,
            value,
            help,
        }
    }

    /// The values of which one may be given or none, where it is so.
    #[must_use]
    pub fn optional_values(&self) -> Option<impl Iterator<Item = &'static str>> {
        let inner = self.value?.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.split('|'))
    }
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// As it is typed.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What follows the name in a usage line.
    pub usage: &'static str,
    /// Its own flags, beside [`COMMON`].
    pub flags: &'static [Flag],
    /// What completes its operands.
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
    /// There are none, and one is a mistake.
    None,
}

/// The flags of every program.
pub const COMMON: &[Flag] = &[
    Flag::new("home", None, Some("DIR"), "where the catalog is"),
    Flag::new(
        "lock-timeout",
        None,
        Some("SPAN"),
        "how long to wait for the catalog (60s)",
    ),
    Flag::new("json", None, None, "print JSON lines, on a terminal too"),
    Flag::new("table", None, None, "print a table, into a pipe too"),
    Flag::new(
        "completions",
        None,
        Some("bash|zsh|fish"),
        "print the completions for a shell",
    ),
    Flag::new("help", Some('h'), None, "print this help"),
    Flag::new("version", Some('V'), None, "print the version"),
];

/// What was typed, each flag known and with its value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments {
    flags: Vec<(&'static str, Option<OsString>)>,
    /// What is no flag, in its order.
    pub operands: Vec<OsString>,
    /// How many of the operands stand before `--`, where that was typed.
    pub before_dashes: Option<usize>,
}

/// A mistake on the command line: exit status 2.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::error::Error for UsageError {}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Arguments {
    /// Whether the flag was given.
    #[must_use]
    pub fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == long)
    }

    /// The last value that was given to the flag.
    #[must_use]
    pub fn value(&self, long: &str) -> Option<&OsString> {
        self.values(long).last()
    }

    /// The last value that was given to the flag, as text.
    ///
    /// # Errors
    /// [`UsageError`], where it is not UTF-8.
    pub fn text(&self, long: &str) -> Result<Option<&str>> {
        self.value(long).map(|value| utf8(long, value)).transpose()
    }

    /// Every value that was given to the flag, as text.
    ///
    /// # Errors
    /// [`UsageError`], where one is not UTF-8.
    pub fn texts(&self, long: &str) -> Result<Vec<&str>> {
        self.values(long).map(|value| utf8(long, value)).collect()
    }

    /// The last value that was given to the flag, as `parse` reads it.
    ///
    /// # Errors
    /// [`UsageError`], that names the flag.
    pub fn parsed<T>(
        &self,
        long: &str,
        parse: impl FnOnce(&str) -> Result<T>,
    ) -> Result<Option<T>> {
        let parse = |text| parse(text).map_err(|e| usage(&e, &format!("--{long}")));
        self.text(long)?.map(parse).transpose()
    }

    /// Every value that was given to the flag, in order.
    pub fn values(&self, long: &str) -> impl Iterator<Item = &OsString> {
        self.flags
            .iter()
            .filter(move |(name, _)| *name == long)
            .filter_map(|(_, value)| value.as_ref())
    }
}

impl Program {
    /// Its own flags, then those of every program.
    pub fn all_flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().chain(COMMON)
    }

    /// What was typed, by the table.
    ///
    /// # Errors
    /// [`UsageError`]: an unknown flag, a missing value, a value where none belongs.
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

    /// The text of `--help`.
    #[must_use]
    pub fn help(&self) -> String {
        let left = |flag: &Flag| {
            let short = flag
                .short
                .map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let value = flag
                .value
                .map_or(String::new(), |value| format!(" {value}"));
            format!("  {short}--{}{value}", flag.long)
        };
        let widths = self.all_flags().map(|flag| left(flag).len());
        let width = widths.filter(|width| *width <= HELP_WIDTH).max();
        let width = width.unwrap_or(0);
        let mut text = format!(
            "{} - {}\n\nusage: {} {}\n\n",
            self.name, self.summary, self.name, self.usage
        );
        for flag in self.all_flags() {
            let left = left(flag);
            let gap = if left.len() > width { "\n" } else { "  " };
            let indent = if left.len() > width { width + 2 } else { 0 };
            text.push_str(&format!("{left:width$}{gap}{:indent$}{}\n", "", flag.help));
        }
        text.push_str(&format!("\nman {} tells more.\n", self.name));
        text
    }

    /// Runs a program: parses, answers `--help` and `--version` without a catalog, and turns an
    /// error into one line and an exit status.
    pub fn run(&self, work: impl FnOnce(&Arguments) -> Result<u8>) -> ExitCode {
        let result = self
            .parse(std::env::args_os().skip(1))
            .and_then(|arguments| {
                if arguments.has("help") {
                    return print(&self.help());
                }
                if arguments.has("version") {
                    return print(&format!(
                        "{} (bk) {}\n",
                        self.name,
                        env!("CARGO_PKG_VERSION")
                    ));
                }
                if let Some(shell) = arguments.text("completions")? {
                    return print(&completions::script(self, shell)?);
                }
                zone::check().map_err(|error| UsageError(format!("{error:#}")))?;
                work(&arguments)
            });
        ExitCode::from(result.unwrap_or_else(|error| self.report(&error)))
    }

    /// Tells one error, on one line, and returns the exit status that it means.
    pub fn report(&self, error: &anyhow::Error) -> u8 {
        self.warn(&format!("{error:#}"));
        status_of(error)
    }

    /// Tells people something on stderr, on one line.
    pub fn warn(&self, text: &str) {
        warn(self.name, text);
    }
}

/// Tells people something on stderr, on one line, in the name of a program.
pub(crate) fn warn(program: &str, text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{program}: {}", one_line(text));
}

/// Text without line breaks, control characters and the numbers of system errors, which say
/// nothing that their names do not.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    visible(plain.trim_end())
}

/// An error as a mistake on the command line: exit status 2.
#[must_use]
pub fn usage(error: &anyhow::Error, what: &str) -> anyhow::Error {
    UsageError(format!("{what}: {error:#}")).into()
}

/// What stands behind `=`, or the next word where it is one of the values.
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

fn utf8<'a>(long: &str, value: &'a OsString) -> Result<&'a str> {
    let text = value.to_str();
    text.ok_or_else(|| UsageError(format!("--{long}: '{}' is not UTF-8", value.display())).into())
}

/// The exit status that an error means.
#[must_use]
pub fn status_of(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        USAGE
    } else if error.is::<lock::Timeout>() {
        LOCKED
    } else {
        SOME_FAILED
    }
}

/// A reader that goes away is no error.
fn print(text: &str) -> Result<u8> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(DONE),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "bk-test",
        summary: "tests",
        usage: "[flags] [NAME...]",
        operands: Operands::Backups,
        flags: &[
            Flag::new("type", Some('t'), Some("TYPE"), "of what type"),
            Flag::new("all", None, None, "all"),
            Flag::new("by", Some('b'), Some("[day|week]"), "by which"),
        ],
    };

    fn parse(typed: &[&str]) -> Result<Arguments> {
        PROGRAM.parse(typed.iter().map(OsString::from))
    }

    #[test]
    fn flags_values_and_operands_are_told_apart() {
        let arguments = parse(&["a", "-tx", "--type=y", "--all", "-", "--", "--all"]).unwrap();
        assert!(arguments.has("all") && !arguments.has("home"));
        assert_eq!(arguments.value("type").unwrap(), "y");
        assert_eq!(arguments.values("type").count(), 2);
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
            // What it may not be is for the program to say.
            (&["--by=x"], Some("x"), &[]),
        ] {
            let arguments = parse(typed).unwrap();
            assert!(arguments.has("by"), "{typed:?}");
            let given = arguments.text("by").unwrap();
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
    fn a_timeout_keeps_its_status_under_context() {
        let timeout = lock::Timeout {
            holder: "bk-ls".into(),
            waited_secs: 1,
        };
        let error = anyhow::Error::from(timeout).context("cannot list");
        assert_eq!(status_of(&error), LOCKED);
        assert_eq!(status_of(&anyhow::anyhow!("other")), SOME_FAILED);
    }

    #[test]
    fn an_error_is_one_line_without_the_numbers_of_the_system() {
        assert_eq!(
            one_line("cannot open 'a\nb': No such file (os error 2)"),
            "cannot open 'a\\nb': No such file"
        );
        assert_eq!(one_line("x (os error 1) y (os error 2"), "x y");
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
