//! bk-df: what the backups take, what is free, how it grows, what went wrong.

mod alerts;
mod bar;
mod df;
mod flags;
mod growth;
mod look;
mod prometheus;
mod summary;
mod table;
mod threshold;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(df::run)
}
