//! The flags of bk-set.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    DESCRIPTION = Flag::option(
        "description",
        "TEXT",
        "a note for people; an empty one removes it",
    )
    .short('d');
    EXPIRES = Flag::option(
        "expires",
        "TIME",
        "when it may be removed: 30d from now, a time, or never",
    )
    .short('e');
    PROTECT = Flag::switch("protect", "refuse its removal");
    UNPROTECT = Flag::switch("unprotect", "allow its removal");
    TYPE = Flag::option("type", "manual|pre-upgrade|automatic", "why it was made").short('t');
    SOURCE_VERSION = Flag::option(
        "source-version",
        "VERSION",
        "version of what was backed up; an empty one removes it",
    );
    METADATA = Flag::option(
        "metadata",
        "KEY=VALUE",
        "a value to store, as JSON if possible; KEY= removes it",
    )
    .short('m');
    NAME = Flag::option(
        "name",
        "NAME",
        "rename one backup; its archive file keeps its name",
    )
    .short('n');
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-set",
    summary: "change the records of backups",
    usage: "flags ID|NAME...  or  bk-set flags <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
