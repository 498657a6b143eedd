//! The flags of bk-rm.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    DRY_RUN = Flag::new("dry-run", Some('n'), None, "print what would be removed; remove nothing");
    FORCE_PROTECTED = Flag::new("force-protected", None, None, "remove protected ones too");
    KEEP_FILE = Flag::new("keep-file", None, None, "remove only the record; the archive stays");
    OFFLINE = Flag::new("offline", None, None, "remove records too whose storage is not there");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-rm",
    summary: "remove backups, the archive and then the record",
    usage: "[flags] ID|NAME...  or  bk-rm [flags] <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
