//! bk-verify: checks that archives are there and whole.

mod choice;
mod flags;
mod record;
mod verdict;
mod verify;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(verify::run)
}
