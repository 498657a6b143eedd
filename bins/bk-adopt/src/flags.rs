//! The flags of bk-adopt.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    RECURSIVE = switch("recursive", "look for archives in directories, and below").short('r');
    DRY_RUN = switch("dry-run", "print what would be done; change nothing").short('n');
    DAMAGED = switch("damaged", "adopt damaged archives too");
    RELINK = option("relink", "DIR", "find missing archives in DIR, and update their paths");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-adopt",
    summary: "add existing archives to the catalog",
    usage: "[flags] [PATH...]  or  bk-adopt [flags] --relink DIR",
    operands: Operands::Paths,
    flags: FLAGS,
};
