//! bk-adopt: takes archives into the catalog that it does not know.

mod adopt;
mod archive;
mod done;
mod find;
mod flags;
mod names;
mod plan;
mod relink;
mod work;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(adopt::run)
}
