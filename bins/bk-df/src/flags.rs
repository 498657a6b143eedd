//! The flags of bk-df.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    WARN = Flag::option("warn", "SPEC", "exit with 1 if free<20G, age>26h or the like").short('w');
    FAIL = Flag::option("fail", "SPEC", "exit with 4 if so, even if --warn applies too").short('f');
    RESERVE = Flag::option(
        "reserve",
        "SIZE",
        "space to leave free, as for bk-create (5 %, at most 1 GiB)",
    );
    PROMETHEUS = Flag::switch("prometheus", "print metrics for node exporter's textfile collector");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-df",
    summary: "show disk usage, growth and problems of backups",
    usage: "[flags]",
    operands: Operands::None,
    flags: FLAGS,
};
