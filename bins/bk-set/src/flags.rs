//! The flags of bk-set.

use bk_cli::{Flag, Operands, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "bk-set",
    summary: "change what is recorded of backups",
    usage: "flags ID|NAME...  or  bk-set flags <RECORDS",
    operands: Operands::Backups,
    flags: &[
        Flag::new(
            "description",
            Some('d'),
            Some("TEXT"),
            "a note for people; an empty one removes it",
        ),
        Flag::new(
            "expires",
            Some('e'),
            Some("TIME"),
            "when it may go: 30d from now, a time, or never",
        ),
        Flag::new("protect", None, None, "refuse its removal"),
        Flag::new("unprotect", None, None, "allow its removal"),
        Flag::new(
            "type",
            Some('t'),
            Some("manual|pre-upgrade|automatic"),
            "why it was made",
        ),
        Flag::new(
            "source-version",
            None,
            Some("VERSION"),
            "version of what was backed up; an empty one removes it",
        ),
        Flag::new(
            "metadata",
            Some('m'),
            Some("KEY=VALUE"),
            "a fact to keep, JSON where it can be; KEY= removes it",
        ),
        Flag::new(
            "name",
            Some('n'),
            Some("NAME"),
            "another name, for one backup; its file keeps its own",
        ),
    ],
};
