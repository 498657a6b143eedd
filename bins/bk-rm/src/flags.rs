//! The flags of bk-rm.

use bk_cli::{Operands, Program, copies, switch};

bk_cli::flags! {
    DRY_RUN = switch("dry-run", "print what would be removed; remove nothing").short('n');
    FORCE_PROTECTED = switch("force-protected", "remove protected ones too");
    KEEP_FILE = switch("keep-file", "remove only the record; the archive stays");
    REQUIRE_COPY = copies::REQUIRE_COPY;
    OFFLINE = switch("offline", "remove records too whose storage is not there");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-rm",
    summary: "remove backups, the archive and then the record",
    usage: "[flags] ID|NAME...  or  bk-rm [flags] <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
