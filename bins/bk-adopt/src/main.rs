//! bk-adopt: adds existing archives to the catalog.

mod adopt;
mod archive;
mod find;
mod flags;
mod names;
mod plan;
mod relink;
mod work;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(adopt::run)
}
