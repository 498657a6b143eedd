//! The flags of bk-mv.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    ALL = Flag::new("all", Some('a'), None, "every archive; later backups are put into DIR too");
    DRY_RUN = Flag::new("dry-run", Some('n'), None, "print what would be moved; move nothing");
    RESERVE = Flag::new("reserve", None, Some("SIZE"), "space to leave free there (5 %, at most 1 GiB)");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-mv",
    summary: "move archives to another directory, file and record together",
    usage: "[flags] ID|NAME... DIR  or  bk-mv [flags] DIR <RECORDS  or  bk-mv [flags] --all DIR",
    operands: Operands::BackupsThenDirectory,
    flags: FLAGS,
};
