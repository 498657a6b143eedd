//! bk-pull: brings archives, or some files of them, back from a second place.

mod adopt;
mod bring;
mod flags;
mod list;
mod paths;
mod pull;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(pull::run)
}
