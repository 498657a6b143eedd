//! bk-rm: removes backups, the archive and then the record.

mod choice;
mod flags;
mod remove;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(remove::run)
}
