//! bk-push: copies archives to a second place.

mod at_once;
mod check;
mod copying;
mod flags;
mod journal;
mod known;
mod leftovers;
mod lists;
mod locations;
mod object;
mod preview;
mod push;
mod remove;
mod spool;
mod upload;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(push::run)
}
