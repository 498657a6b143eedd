//! bk-pull: brings archives, or some files of them, back from a second place.

mod adopt;
mod bring;
mod fetch;
mod flags;
mod hosts;
mod list;
mod paths;
mod plan;
mod pull;
mod sidecars;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(pull::run)
}
