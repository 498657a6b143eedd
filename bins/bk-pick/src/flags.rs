//! The flags of bk-pick.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    ONE = switch("one", "only one backup, or one file in it, can be chosen");
    HEADER = option("header", "TEXT", "show a line above the list");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-pick",
    summary: "choose backups from a list on the terminal",
    usage: "[flags] [ID|NAME...]  or  bk-pick [flags] <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
