//! The flags of bk-df.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    WARN = Flag::new("warn", Some('w'), Some("SPEC"), "exit with 1 where free<20G, age>26h and so on holds");
    FAIL = Flag::new("fail", Some('f'), Some("SPEC"), "the same, with 4, which goes before 1");
    RESERVE = Flag::new(
        "reserve",
        None,
        Some("SIZE"),
        "space to leave free, as bk-create has it (5 %, at most 1 GiB)",
    );
    PROMETHEUS = Flag::new("prometheus", None, None, "print metrics for node exporter's textfile collector");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-df",
    summary: "what the backups take, what is free, and what went wrong",
    usage: "[flags]",
    operands: Operands::None,
    flags: FLAGS,
};
