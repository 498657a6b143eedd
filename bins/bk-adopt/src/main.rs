//! bk-adopt: takes archives into the catalog that it does not know.

mod adopt;
mod archive;
mod done;
mod find;
mod flags;
mod plan;
mod relink;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(adopt::run)
}
