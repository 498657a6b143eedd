//! bk-mv: moves archives to another directory, file and record together.

mod copy;
mod flags;
mod item;
mod judge;
mod part;
mod relocate;
mod report;
mod run;
mod target;
mod way;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(run::run)
}
