//! bk-df: disk usage of the backups, free space, growth, and monitoring thresholds.

mod alerts;
mod df;
mod disks;
mod flags;
mod growth;
mod jobs;
mod locations;
mod prometheus;
mod summary;
mod table;
mod threshold;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(df::run)
}
