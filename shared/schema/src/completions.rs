//! Completions for bash, zsh and fish, from the flag table of a program.
//!
//! Values that a flag's placeholder lists (`a|b|c`) are offered; `DIR` and `FILE` complete
//! paths. What a catalog holds is offered as words: no shell ever evaluates it. Knows no program.

use anyhow::Result;

use crate::cli::{Flag, Operands, Program, UsageError};

const BASH_HELPERS: &str = include_str!("completions/helpers.bash");
const ZSH_HELPERS: &str = include_str!("completions/helpers.zsh");
const FISH_HELPERS: &str = include_str!("completions/helpers.fish");

/// Names that a program prints.
#[derive(Debug, Clone, Copy)]
struct Names {
    /// What they are.
    word: &'static str,
    command: &'static str,
    /// What stands before a name on its line, as a regular expression.
    before: &'static str,
}

const BACKUPS: Names = Names {
    word: "backup",
    command: "bk-ls",
    before: r#"\{"id":[0-9]+,"backup_name":"#,
};
const JOBS: Names = Names {
    word: "job",
    command: "bk-auto --list",
    before: r#"\{"job":"#,
};

impl Names {
    /// The command line that prints the names, one a line; `home` is how the shell writes the
    /// flag --home that was typed.
    fn printed(self, home: &str) -> String {
        let Self { command, .. } = self;
        // A completion is not worth waiting for.
        let program = format!("{command} --json --lock-timeout 1s {home} 2>/dev/null");
        format!("{program} | sed -En {}", self.sed())
    }

    /// Takes the names out of the lines, and the backslashes of JSON out of the names, which hold
    /// no control characters.
    fn sed(self) -> String {
        let Self { before, .. } = self;
        let name = r#""((\\.|[^"\\])*)""#;
        format!(r"-e '/^{before}/!d' -e 's/^{before}{name}.*/\1/' -e 's/\\(.)/\1/g' -e p")
    }
}

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
    let mut cases = String::new();
    for flag in program.all_flags() {
        let found = match values(flag) {
            Values::None => continue,
            Values::Directories => "_bk_paths dirnames".to_owned(),
            Values::Files => "_bk_paths default".to_owned(),
            Values::Of(all) => {
                let words = all.iter().map(|value| format!(r#" "${{bk_flag}}{value}""#));
                format!("_bk_offer{}", words.collect::<String>())
            }
            Values::Any => ":".to_owned(),
        };
        // Where the value may be left out, what follows may be anything else.
        let end = match flag.optional_values() {
            Some(_) => "[[ ${#COMPREPLY[@]} = 0 ]] || return",
            None => "return",
        };
        cases.push_str(&format!(
            "        {}) {found}; {end} ;;\n",
            spellings(flag, " | ")
        ));
    }
    let flags: Vec<_> = program
        .all_flags()
        .map(|flag| spellings(flag, " "))
        .collect();
    let flags = flags.join(" ");
    let offer = |names: Names| {
        let printed = names.printed(r#""${bk_home[@]}""#);
        format!("_bk_offer_lines < <({printed})")
    };
    let operands = match program.operands {
        Operands::Paths => "_bk_paths default".to_owned(),
        Operands::Backups => offer(BACKUPS),
        Operands::BackupsThenDirectory => {
            format!("{}\n        _bk_directories_too", offer(BACKUPS))
        }
        Operands::Jobs => format!(
            "if [[ $bk_after ]]; then _bk_paths default; else {}; fi",
            offer(JOBS)
        ),
        Operands::None => ":".to_owned(),
    };
    format!(
        r#"# bash completion for {name}, made by '{name} --completions bash'

{BASH_HELPERS}
{function}() {{
    local bk_words bk_open bk_cur bk_kept bk_quote bk_prev bk_flag bk_after bk_home
    _bk_begin "${{@:2:1}}"
    case $bk_prev in
{cases}    esac
    if [[ $bk_cur = -* && ! $bk_after ]]; then
        _bk_offer {flags}
    else
        {operands}
    fi
}}
complete -F {function} {name}
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
    let function = |names: Names, first: &str| {
        let (word, printed) = (names.word, names.printed("$bk_home"));
        format!(
            "_bk_{word}s() {{\n{first}    local -a bk_home\n    _bk_home\n    {printed} | _bk_offer_lines \"$@\"\n}}\n\n"
        )
    };
    let (functions, operands) = match program.operands {
        Operands::Paths => (String::new(), "'*:path:_files'"),
        Operands::Backups => (function(BACKUPS, ""), "'*:backup:_bk_backups'"),
        Operands::BackupsThenDirectory => (
            function(BACKUPS, ""),
            r#""*:backup or directory:{_alternative 'backups:backup:_bk_backups' 'dirs:directory:_directories'}""#,
        ),
        Operands::Jobs => (
            function(
                JOBS,
                "    (( ${words[(i)--]} < CURRENT )) && { _files; return }\n",
            ),
            "'*:job:_bk_jobs'",
        ),
        Operands::None => (String::new(), ""),
    };
    format!(
        "#compdef {name}\n# made by '{name} --completions zsh'\n\n{ZSH_HELPERS}\n{functions}_arguments -S \\\n{specs}    {operands}\n"
    )
}

fn fish(program: &Program) -> String {
    let name = program.name;
    let mut text = format!(
        "# fish completion for {name}, made by '{name} --completions fish'\n\n{FISH_HELPERS}\n"
    );
    let function = |names: Names| {
        let printed = names.printed("(__bk_home)").replace('\\', r"\\");
        format!("function __bk_{}s\n    {printed}\nend\n\n", names.word)
    };
    match program.operands {
        Operands::None => text.push_str(&format!("complete -c {name} -f\n")),
        Operands::Paths => {}
        Operands::Backups | Operands::BackupsThenDirectory => {
            let is_either = program.operands == Operands::BackupsThenDirectory;
            let directories = if is_either {
                "; __fish_complete_directories"
            } else {
                ""
            };
            text.push_str(&function(BACKUPS));
            text.push_str(&format!(
                "complete -c {name} -f -a '(__bk_backups{directories})'\n"
            ));
        }
        Operands::Jobs => {
            let is_after = "contains -- -- (commandline -opc)";
            text.push_str(&function(JOBS));
            text.push_str(&format!(
                "complete -c {name} -n 'not {is_after}' -f -a '(__bk_jobs)'\ncomplete -c {name} -n '{is_after}' -F\n"
            ));
        }
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
            flag.help.replace('\\', r"\\").replace('\'', r"\'")
        ));
    }
    text
}
