//! bk-set: changes what is recorded of backups.

mod change;
mod flags;
mod set;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(set::run)
}
