//! bk-ls: lists backups and what is inside them.

mod files;
mod filter;
mod flags;
mod list;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(list::run)
}
