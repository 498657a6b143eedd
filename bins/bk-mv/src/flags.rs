//! The flags of bk-mv.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    ALL = switch("all", "every archive; later backups are put into DIR too").short('a');
    DRY_RUN = switch("dry-run", "print what would be moved; move nothing").short('n');
    RESERVE = option("reserve", "SIZE", "space to leave free there (5 %, at most 1 GiB)");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-mv",
    summary: "move archives to another directory, file and record together",
    usage: "[flags] ID|NAME... DIR  or  bk-mv [flags] DIR <RECORDS  or  bk-mv [flags] --all DIR",
    operands: Operands::BackupsThenDirectory,
    flags: FLAGS,
};
