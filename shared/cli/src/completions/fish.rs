//! Completions for fish.
//!
//! Knows a program only by its table.

use super::words::{Names, Values, known, values};
use crate::flags::{Operands, Program};

const FISH_HELPERS: &str = include_str!("helpers.fish");

pub(crate) fn script(program: &Program) -> String {
    let name = program.name;
    let mut text = format!(
        "# fish completion for {name}, made by '{name} --completions fish'\n\n{FISH_HELPERS}\n"
    );
    let function = |names: Names| {
        let printed = names.printed("(__bk_home)").replace('\\', r"\\");
        format!("function __bk_{}s\n    {printed}\nend\n\n", names.word)
    };
    for names in known(program) {
        text.push_str(&function(names));
    }
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
            text.push_str(&format!(
                "complete -c {name} -f -a '(__bk_backups{directories})'\n"
            ));
        }
        Operands::Jobs => {
            let is_after = "contains -- -- (commandline -opc)";
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
            Values::Known(names) => format!(" -x -a '(__bk_{}s)'", names.word),
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
