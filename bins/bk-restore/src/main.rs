//! bk-restore: restores backups, whole or some paths.

mod flags;
mod merge;
mod opened;
mod print;
mod restore;
mod stage;
mod target;
mod trial;
mod watch;
mod work;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(restore::run)
}
