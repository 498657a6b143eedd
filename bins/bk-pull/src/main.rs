//! bk-pull: brings archives, or some files of them, back from a second place.

mod adopt;
mod bring;
mod bringing;
mod fetch;
mod files;
mod flags;
mod hosts;
mod list;
mod object;
mod paths;
mod plan;
mod pull;
mod ranges;
mod rules;
mod selected;
mod sidecars;
mod unpack;
mod watch;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(pull::run)
}
