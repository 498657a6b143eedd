//! bk-push: copies archives to a second place.

mod copying;
mod destination;
mod flags;
mod journal;
mod locations;
mod object;
mod push;
mod sidecars;
mod upload;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(push::run)
}
