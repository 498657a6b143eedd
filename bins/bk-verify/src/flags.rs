//! The flags of bk-verify.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    QUICK =
        Flag::switch("quick", "only that the archive is there and as large as recorded").short('q');
    DEEP = Flag::switch("deep", "also every member, header and byte of what is inside").short('d');
    ALL = Flag::switch("all", "every completed backup").short('a');
    OLDER_THAN_CHECK = Flag::option(
        "older-than-check",
        "SPAN",
        "every completed backup not verified for SPAN, or never",
    );
    LIMIT = Flag::option("limit", "N", "of these, the N verified longest ago");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-verify",
    summary: "check that archives are there and whole",
    usage: "[flags] ID|NAME...  or  bk-verify [flags] <RECORDS  or  bk-verify [flags] --all",
    operands: Operands::Backups,
    flags: FLAGS,
};
