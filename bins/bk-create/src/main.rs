//! bk-create: makes a backup of directories, files, or what a command prints.

mod command;
mod create;
mod estimate;
mod facts;
mod flags;
mod names;
mod prospect;
mod request;
mod sources;
mod space;
mod unseen;
mod watch;
mod writing;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(create::run)
}
