//! bk-create: makes a backup of directories or files.

mod create;
mod estimate;
mod flags;
mod prospect;
mod request;
mod sources;
mod space;
mod watch;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(create::run)
}
