//! Completions for bash.
//!
//! Knows a program only by its table.

use super::words::{BACKUPS, JOBS, Names, Values, spellings, values};
use crate::flags::{Operands, Program};

const BASH_HELPERS: &str = include_str!("helpers.bash");

pub(crate) fn script(program: &Program) -> String {
    let name = program.name;
    let function = format!("_{}", name.replace('-', "_"));
    let offer = |names: Names| {
        let printed = names.printed(r#""${bk_home[@]}""#);
        format!("_bk_offer_lines < <({printed})")
    };
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
            Values::Known(names) => offer(names),
            Values::Any => ":".to_owned(),
        };
        // After an optional value, the word may also be something else.
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
