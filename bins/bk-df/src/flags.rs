//! The flags of bk-df.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    WARN = Flag::new("warn", Some('w'), Some("SPEC"), "exit with 1 if free<20G, age>26h or the like");
    FAIL = Flag::new("fail", Some('f'), Some("SPEC"), "exit with 4 if so, even if --warn applies too");
    RESERVE = Flag::new(
        "reserve",
        None,
        Some("SIZE"),
        "space to leave free, as for bk-create (5 %, at most 1 GiB)",
    );
    PROMETHEUS = Flag::new("prometheus", None, None, "print metrics for node exporter's textfile collector");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-df",
    summary: "show disk usage, growth and problems of backups",
    usage: "[flags]",
    operands: Operands::None,
    flags: FLAGS,
};
