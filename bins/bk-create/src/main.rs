//! bk-create: makes a backup of directories, files, or what a command prints.

mod command;
mod create;
mod estimate;
mod excludes;
mod files_from;
mod flags;
mod names;
mod parent;
mod plan;
mod records;
mod request;
mod row;
mod shrunk;
mod sources;
mod totals;
mod unmatched;
mod watch;
mod writing;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(create::run)
}
