//! bk-restore: restores backups, whole or some paths.

mod below;
mod fill;
mod flags;
mod merge;
mod opened;
mod outcome;
mod place;
mod preview;
mod restore;
mod routes;
mod sources;
mod target;
mod trial;
mod wanted;
mod watch;
mod work;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(restore::run)
}
