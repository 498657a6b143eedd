//! bk-set: changes the records of backups.

mod edit;
mod flags;
mod set;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(set::run)
}
