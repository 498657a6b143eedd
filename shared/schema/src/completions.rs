//! Completions for bash, zsh and fish, from the flag table of a program.
//!
//! Values that a flag's placeholder lists (`a|b|c`) are offered; `DIR` and `FILE` complete
//! paths. Knows no program.

use anyhow::Result;

use crate::cli::{Flag, Operands, Program, UsageError};

/// Prints the names of the backups that there are; what bash and fish complete operands from.
const BACKUP_NAMES: &str =
    r#"bk-ls --json 2>/dev/null | sed -n 's/^{"id":[0-9]*,"backup_name":"\([^"]*\)".*/\1/p'"#;

/// The script that teaches `shell` the program's flags.
///
/// # Errors
/// [`UsageError`]: another shell than the three.
pub(crate) fn script(program: &Program, shell: &str) -> Result<String> {
    match shell {
        "bash" => Ok(bash(program)),
        "zsh" => Ok(zsh(program)),
        "fish" => Ok(fish(program)),
        _ => Err(UsageError(format!("no completions for '{shell}': bash, zsh or fish")).into()),
    }
}

/// What completes a flag's value.
enum Values<'a> {
    None,
    Directories,
    Files,
    Of(Vec<&'a str>),
    Any,
}

fn values(flag: &Flag) -> Values<'_> {
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

fn spellings(flag: &Flag, between: &str) -> String {
    let short = flag.short.map(|letter| format!("-{letter}{between}"));
    format!("{}--{}", short.unwrap_or_default(), flag.long)
}

fn bash(program: &Program) -> String {
    let name = program.name;
    let function = format!("_{}", name.replace('-', "_"));
    let reply = |from: &str| format!("mapfile -t COMPREPLY < <({from})");
    let mut cases = String::new();
    for flag in program.all_flags() {
        let found = match values(flag) {
            Values::None => continue,
            Values::Directories => reply(r#"compgen -d -- "$cur""#),
            Values::Files => reply(r#"compgen -f -- "$cur""#),
            Values::Of(all) => reply(&format!(r#"compgen -W "{}" -- "$cur""#, all.join(" "))),
            Values::Any => "COMPREPLY=()".to_owned(),
        };
        // Where the value may be left out, what follows may be anything else.
        let end = match flag.optional_values() {
            Some(_) => "[[ ${#COMPREPLY[@]} = 0 ]] || return",
            None => "return",
        };
        cases.push_str(&format!(
            "        {}) {found}; {end} ;;\n",
            spellings(flag, "|")
        ));
    }
    let flags: Vec<_> = program
        .all_flags()
        .map(|flag| spellings(flag, " "))
        .collect();
    let flags = reply(&format!(r#"compgen -W "{}" -- "$cur""#, flags.join(" ")));
    let operands = match program.operands {
        Operands::Paths => reply(r#"compgen -f -- "$cur""#),
        Operands::Backups => reply(&format!(r#"compgen -W "$({BACKUP_NAMES})" -- "$cur""#)),
        Operands::BackupsThenDirectory => {
            reply(&format!(r#"compgen -d -W "$({BACKUP_NAMES})" -- "$cur""#))
        }
        Operands::None => "COMPREPLY=()".to_owned(),
    };
    format!(
        r#"# bash completion for {name}, made by '{name} --completions bash'
{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    case $prev in
{cases}    esac
    case $cur in
        -*) {flags} ;;
        *) {operands} ;;
    esac
}}
complete -o filenames -F {function} {name}
"#
    )
}

fn zsh(program: &Program) -> String {
    let name = program.name;
    let quoted = |text: &str| {
        text.replace('\'', r"'\''")
            .replace('[', r"\[")
            .replace(']', r"\]")
    };
    let mut specs = String::new();
    for flag in program.all_flags() {
        let value = flag.value.unwrap_or_default();
        let action = match values(flag) {
            Values::None => String::new(),
            Values::Directories => ":DIR:_directories".to_owned(),
            Values::Files => ":FILE:_files".to_owned(),
            Values::Of(all) => {
                let colons = flag.optional_values().map_or(":", |_| "::");
                format!("{colons}value:({})", all.join(" "))
            }
            Values::Any => format!(":{value}:"),
        };
        let equals = if flag.value.is_some() { "=" } else { "" };
        let help = quoted(flag.help);
        specs.push_str(&format!(
            "    '*--{}{equals}[{help}]{action}' \\\n",
            flag.long
        ));
        if let Some(letter) = flag.short {
            let plus = if flag.value.is_some() { "+" } else { "" };
            specs.push_str(&format!("    '*-{letter}{plus}[{help}]{action}' \\\n"));
        }
    }
    let (found, operands) = match program.operands {
        Operands::Paths => (String::new(), r#""*:path:_files""#),
        Operands::Backups => (
            format!("local -a backups=(${{(f)\"$({BACKUP_NAMES})\"}})\n"),
            r#""*:backup:($backups)""#,
        ),
        Operands::BackupsThenDirectory => (
            format!("local -a backups=(${{(f)\"$({BACKUP_NAMES})\"}})\n"),
            r#""*:backup or directory:{_alternative 'backups:backup:($backups)' 'dirs:directory:_directories'}""#,
        ),
        Operands::None => (String::new(), ""),
    };
    format!(
        "#compdef {name}\n# made by '{name} --completions zsh'\n{found}_arguments -S \\\n{specs}    {operands}\n"
    )
}

fn fish(program: &Program) -> String {
    let name = program.name;
    let mut text = format!("# fish completion for {name}, made by '{name} --completions fish'\n");
    let directories = match program.operands {
        Operands::None => {
            text.push_str(&format!("complete -c {name} -f\n"));
            None
        }
        Operands::Paths => None,
        Operands::Backups => Some(""),
        Operands::BackupsThenDirectory => Some("; __fish_complete_directories"),
    };
    if let Some(directories) = directories {
        text.push_str(&format!(
            "complete -c {name} -f -a \"({}{directories})\"\n",
            fish_quoted(BACKUP_NAMES)
        ));
    }
    for flag in program.all_flags() {
        let short = flag.short.map(|letter| format!(" -s {letter}"));
        let value = match values(flag) {
            Values::None => String::new(),
            Values::Directories => " -x -a '(__fish_complete_directories)'".to_owned(),
            Values::Files => " -r -F".to_owned(),
            Values::Of(all) => {
                let needs = flag.optional_values().map_or(" -x", |_| " -f");
                format!("{needs} -a '{}'", all.join(" "))
            }
            Values::Any => " -x".to_owned(),
        };
        text.push_str(&format!(
            "complete -c {name} -l {}{}{value} -d '{}'\n",
            flag.long,
            short.unwrap_or_default(),
            flag.help.replace('\'', r"\'")
        ));
    }
    text
}

fn fish_quoted(command: &str) -> String {
    command
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('$', r"\$")
}
