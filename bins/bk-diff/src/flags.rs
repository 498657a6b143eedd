//! The flags of bk-diff.

use bk_cli::{Operands, Program, switch};

bk_cli::flags! {
    LIVE = switch("live", "compare A with its sources as they are now").short('l');
    CONTENT = switch("content", "read files of which size alone is known to be the same").short('c');
    STAT = switch("stat", "print only how many changes there are, and of how many bytes").short('s');
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-diff",
    summary: "tell what changed between two backups, or since one",
    usage: "[flags] A [B] [-- GLOB...]  or  bk-diff [flags] A --live [-- GLOB...]",
    operands: Operands::Backups,
    flags: FLAGS,
};
