//! The flags of bk-verify.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    QUICK = switch("quick", "only that the archive is there and as large as recorded").short('q');
    DEEP = switch("deep", "also every member, header and byte of what is inside").short('d');
    ALL = switch("all", "every completed backup").short('a');
    OLDER_THAN_CHECK = option(
        "older-than-check",
        "SPAN",
        "every completed backup not verified for SPAN, or never",
    );
    LIMIT = option("limit", "N", "of these, the N verified longest ago");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-verify",
    summary: "check that archives are there and whole",
    usage: "[flags] ID|NAME...  or  bk-verify [flags] <RECORDS  or  bk-verify [flags] --all",
    operands: Operands::Backups,
    flags: FLAGS,
};
