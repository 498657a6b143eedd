//! The flags of bk-df.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    WARN = option("warn", "SPEC", "exit with 1 if free<20G, age>26h or the like").short('w');
    FAIL = option("fail", "SPEC", "exit with 4 if so, even if --warn applies too").short('f');
    RESERVE =
        option("reserve", "SIZE", "space to leave free, as for bk-create (5 %, at most 1 GiB)");
    PROMETHEUS = switch("prometheus", "print metrics for node exporter's textfile collector");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-df",
    summary: "show disk usage, growth and problems of backups, and how the jobs ran",
    usage: "[flags]",
    operands: Operands::None,
    flags: FLAGS,
};
