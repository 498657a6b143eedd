//! bk-find: finds files in all backups.

mod find;
mod flags;
mod gone;
mod index;
mod line;
mod names;
mod table;
mod versions;
mod wanted;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(find::run)
}
