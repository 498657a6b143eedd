//! The flags of bk-adopt.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    RECURSIVE = Flag::new("recursive", Some('r'), None, "look for archives in directories, and below");
    DRY_RUN = Flag::new("dry-run", Some('n'), None, "say what would be done; change nothing");
    DAMAGED = Flag::new("damaged", None, None, "adopt damaged archives too");
    RELINK = Flag::new("relink", None, Some("DIR"), "find archives that are missing in DIR");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-adopt",
    summary: "take archives into the catalog that it does not know",
    usage: "[flags] [PATH...]  or  bk-adopt [flags] --relink DIR",
    operands: Operands::Paths,
    flags: FLAGS,
};
