//! bk-auto: runs the scheduled backups that are due, then their retention.

mod auto;
mod change;
mod child;
mod create_flags;
mod flags;
mod hook;
mod job;
mod list;
mod lock;
mod missed;
mod notify;
mod outcome;
mod program;
mod prune_flags;
mod rounds;
mod run;
mod store;
mod tail;
mod words;
mod work;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(auto::run)
}
