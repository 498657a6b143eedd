//! The flags of bk-set.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    DESCRIPTION =
        option("description", "TEXT", "a note for people; an empty one removes it").short('d');
    EXPIRES = option(
        "expires",
        "TIME",
        "when it may be removed: 30d from now, a time, or never",
    )
    .short('e');
    PROTECT = switch("protect", "refuse its removal");
    UNPROTECT = switch("unprotect", "allow its removal");
    TYPE = option("type", "manual|pre-upgrade|automatic", "why it was made").short('t');
    SOURCE_VERSION = option(
        "source-version",
        "VERSION",
        "version of what was backed up; an empty one removes it",
    );
    METADATA = option(
        "metadata",
        "KEY=VALUE",
        "a value to store, as JSON if possible; KEY= removes it",
    )
    .short('m');
    ACCEPT = switch("accept", "take as right that it holds much less than the one before");
    NAME = option("name", "NAME", "rename one backup; its archive file keeps its name");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-set",
    summary: "change the records of backups",
    usage: "flags ID|NAME...  or  bk-set flags <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
