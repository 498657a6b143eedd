//! bk-diff: tells what changed between two backups, or since one.

mod change;
mod content;
mod diff;
mod flags;
mod join;
mod line;
mod live;
mod sides;
mod totals;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(diff::run)
}
