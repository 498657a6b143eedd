//! bk-mv: moves archives to another directory, file and record together.

mod copy;
mod flags;
mod part;
mod relocate;
mod run;
mod target;
mod way;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(run::run)
}
