//! bk-log: prints the ledger, or counts what is in it.

mod flags;
mod follow;
mod ledger;
mod log;
mod report;
mod statistics;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(log::run)
}
