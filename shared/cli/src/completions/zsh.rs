//! Completions for zsh.
//!
//! Knows a program only by its table.

use super::words::{JOBS, Names, Values, known, values};
use crate::flags::{Operands, Program};

const ZSH_HELPERS: &str = include_str!("helpers.zsh");

pub(crate) fn script(program: &Program) -> String {
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
            Values::Known(names) => format!(":{0}:_bk_{0}s", names.word),
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
    // After `--` a job's operands are what it backs up.
    let files_after = "    (( ${words[(i)--]} < CURRENT )) && { _files; return }\n";
    let function = |names: Names| {
        let (word, printed) = (names.word, names.printed("$bk_home"));
        let is_after = names == JOBS && program.operands == Operands::Jobs;
        let first = if is_after { files_after } else { "" };
        format!(
            "_bk_{word}s() {{\n{first}    local -a bk_home\n    _bk_home\n    {printed} | _bk_offer_lines \"$@\"\n}}\n\n"
        )
    };
    let functions: String = known(program).into_iter().map(function).collect();
    let operands = match program.operands {
        Operands::Paths => "'*:path:_files'",
        Operands::Backups => "'*:backup:_bk_backups'",
        Operands::BackupsThenDirectory => {
            r#""*:backup or directory:{_alternative 'backups:backup:_bk_backups' 'dirs:directory:_directories'}""#
        }
        Operands::Jobs => "'*:job:_bk_jobs'",
        Operands::None => "",
    };
    format!(
        "#compdef {name}\n# made by '{name} --completions zsh'\n\n{ZSH_HELPERS}\n{functions}_arguments -S \\\n{specs}    {operands}\n"
    )
}
