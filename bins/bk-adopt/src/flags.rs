//! The flags of bk-adopt.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    RECURSIVE = Flag::new("recursive", Some('r'), None, "look for archives in directories, and below");
    DRY_RUN = Flag::new("dry-run", Some('n'), None, "print what would be done; change nothing");
    DAMAGED = Flag::new("damaged", None, None, "adopt damaged archives too");
    RELINK = Flag::new("relink", None, Some("DIR"), "find missing archives in DIR, and update their paths");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-adopt",
    summary: "add existing archives to the catalog",
    usage: "[flags] [PATH...]  or  bk-adopt [flags] --relink DIR",
    operands: Operands::Paths,
    flags: FLAGS,
};
