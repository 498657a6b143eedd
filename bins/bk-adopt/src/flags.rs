//! The flags of bk-adopt.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    RECURSIVE = Flag::switch("recursive", "look for archives in directories, and below").short('r');
    DRY_RUN = Flag::switch("dry-run", "print what would be done; change nothing").short('n');
    DAMAGED = Flag::switch("damaged", "adopt damaged archives too");
    RELINK = Flag::option("relink", "DIR", "find missing archives in DIR, and update their paths");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-adopt",
    summary: "add existing archives to the catalog",
    usage: "[flags] [PATH...]  or  bk-adopt [flags] --relink DIR",
    operands: Operands::Paths,
    flags: FLAGS,
};
