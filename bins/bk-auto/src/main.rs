//! bk-auto: runs the scheduled backups that are due, then their retention.

mod auto;
mod change;
mod child;
mod create_flags;
mod flags;
mod hook;
mod job;
mod list;
mod retention;
mod run;
mod store;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(auto::run)
}
