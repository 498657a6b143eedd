//! The flags of bk-verify.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    QUICK = Flag::new("quick", Some('q'), None, "only that the archive is there and as large as recorded");
    DEEP = Flag::new("deep", Some('d'), None, "also every member, header and byte of what is inside");
    ALL = Flag::new("all", Some('a'), None, "every completed backup");
    OLDER_THAN_CHECK = Flag::new(
        "older-than-check",
        None,
        Some("SPAN"),
        "every completed backup not verified for SPAN, or never",
    );
    LIMIT = Flag::new("limit", None, Some("N"), "of these, the N verified longest ago");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-verify",
    summary: "check that archives are there and whole",
    usage: "[flags] ID|NAME...  or  bk-verify [flags] <RECORDS  or  bk-verify [flags] --all",
    operands: Operands::Backups,
    flags: FLAGS,
};
