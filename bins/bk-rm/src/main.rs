//! bk-rm: removes backups, the archive and then the record.

mod choice;
mod flags;
mod judge;
mod remove;
mod report;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(remove::run)
}
