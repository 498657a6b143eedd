//! The flags of bk-set.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    DESCRIPTION = Flag::new(
        "description",
        Some('d'),
        Some("TEXT"),
        "a note for people; an empty one removes it",
    );
    EXPIRES = Flag::new("expires", Some('e'), Some("TIME"), "when it may be removed: 30d from now, a time, or never");
    PROTECT = Flag::new("protect", None, None, "refuse its removal");
    UNPROTECT = Flag::new("unprotect", None, None, "allow its removal");
    TYPE = Flag::new("type", Some('t'), Some("manual|pre-upgrade|automatic"), "why it was made");
    SOURCE_VERSION = Flag::new(
        "source-version",
        None,
        Some("VERSION"),
        "version of what was backed up; an empty one removes it",
    );
    METADATA = Flag::new(
        "metadata",
        Some('m'),
        Some("KEY=VALUE"),
        "a value to store, as JSON if possible; KEY= removes it",
    );
    NAME = Flag::new("name", Some('n'), Some("NAME"), "rename one backup; its archive file keeps its name");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-set",
    summary: "change the records of backups",
    usage: "flags ID|NAME...  or  bk-set flags <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
