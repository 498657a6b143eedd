//! Files of a backup whose content is what commands print: their names and commands, as flags and
//! requests give them.
//!
//! Knows no process and no archive.

use anyhow::{Context, Result, bail, ensure};

use crate::entry_name::normalize;

/// What the kernel takes as one argument, without the NUL at its end.
const COMMAND_MAX_BYTES: usize = (128 << 10) - 1;

/// Splits `NAME=CMD` as it is typed.
///
/// # Errors
/// What looks like a command whose name was left out. `./NAME=CMD` never does.
pub fn split(pair: &str) -> Result<(&str, &str)> {
    let form = "use NAME=CMD, where NAME is the file in the archive";
    let (name, command) = pair
        .split_once('=')
        .with_context(|| format!("invalid command: {form}"))?;
    let is_of_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_variable = !name.is_empty()
        && name.chars().all(is_of_variable)
        && !name.starts_with(|c: char| c.is_ascii_digit());
    // What comes after the sign may be a password, and is not repeated.
    let shown = name.escape_debug();
    if is_variable && command.trim().contains(char::is_whitespace) {
        bail!(
            "'{shown}' looks like a variable that is set for a command: {form}, or ./{shown}=CMD for a file of that name"
        );
    }
    ensure!(
        !name.contains(char::is_whitespace),
        "'{shown}' looks like a command without a name before it: {form} and has no blank"
    );
    Ok((name, command))
}

/// The name of a file as it is stored: like a path, without a leading slash.
///
/// # Errors
/// What cannot be the name of a file.
pub fn file_name(name: &str) -> Result<String> {
    let shown = name.escape_debug();
    let plain = normalize(name.as_bytes())?;
    ensure!(
        !plain.is_empty(),
        "the file name '{shown}' is empty: use one such as dump.sql"
    );
    ensure!(
        !name.ends_with('/'),
        "the file name '{shown}' ends with a slash, as those of directories do"
    );
    ensure!(
        !name.contains('\0'),
        "the file name '{shown}' contains a NUL"
    );
    Ok(String::from_utf8(plain)?)
}

/// Checks the name and the command of one file; returns the name as it is stored.
///
/// # Errors
/// What cannot be the name of a file, or an argument of a shell.
pub fn check(name: &str, command: &str) -> Result<String> {
    let name = file_name(name)?;
    let shown = name.escape_debug();
    ensure!(
        !command.trim().is_empty(),
        "the command of '{shown}' is empty"
    );
    ensure!(
        !command.contains('\0'),
        "the command of '{shown}' contains a NUL"
    );
    ensure!(
        command.len() <= COMMAND_MAX_BYTES,
        "the command of '{shown}' is longer than {COMMAND_MAX_BYTES} bytes: put it into a script"
    );
    Ok(name)
}

/// Checks all commands of one backup; returns the names as they are stored, in the same order.
///
/// # Errors
/// Those of [`check`], and two commands for one file.
pub fn check_all<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (name, command) in pairs {
        let name = check(name, command)?;
        ensure!(
            !names.contains(&name),
            "'{}' is the name of two commands",
            name.escape_debug()
        );
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_unless_it_looks_like_a_command_alone() {
        for (pair, split_at) in [
            ("a.sql=pg_dump -d=x", Some("a.sql")),
            ("HOME=x", Some("HOME")),
            ("./DB=pg_dump shop", Some("./DB")),
            ("Db=pg_dump shop", Some("Db")),
            ("1A=pg_dump shop", Some("1A")),
            ("=x y", Some("")),
            ("pg_dump", None),
            ("PGPASSWORD=x pg_dump shop", None),
            ("_A1= x pg_dump", None),
            ("pg_dump -Fc --dbname=shop", None),
            (" a=x", None),
        ] {
            let found = split(pair);
            let told = found.as_ref().err().map(|error| format!("{error}"));
            assert_eq!(found.ok().map(|it| it.0), split_at, "{pair}");
            assert!(told.is_none_or(|told| told.contains("NAME=CMD") && !told.contains("shop")));
        }
    }

    #[test]
    fn names_and_commands_are_plain_or_refused() {
        let long = "x".repeat(COMMAND_MAX_BYTES);
        let longer = format!("{long}x");
        let checked = |pairs: &[(&str, &str)]| {
            let checked = check_all(pairs.iter().copied());
            checked.map_err(|error| error.to_string())
        };
        let good = checked(&[("/a b", " x"), ("./c//D.sql", &long)]);
        assert_eq!(good.unwrap(), ["a b", "c/D.sql"]);
        for (pairs, reason) in [
            (&[("", "x")][..], "the file name '' is empty"),
            (&[("./", "x")], "the file name './' is empty"),
            (&[("a/", "x")], "the file name 'a/' ends with a slash"),
            (&[("a\0", "x")], "the file name 'a\\0' contains a NUL"),
            (&[("a/../b", "x")], "the name 'a/../b' contains '..'"),
            (&[("a", " \n")], "the command of 'a' is empty"),
            (&[("a", "x\0")], "the command of 'a' contains a NUL"),
            (&[("a", &longer)], "the command of 'a' is longer"),
            (
                &[("/a", "x"), ("a", "y")],
                "'a' is the name of two commands",
            ),
        ] {
            let told = checked(pairs).unwrap_err();
            assert!(told.starts_with(reason), "{told}");
        }
    }
}
