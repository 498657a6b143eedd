//! bk-pick: a full-screen list to choose backups from.

mod cells;
mod columns;
mod dialogue;
mod events;
mod filter;
mod flags;
mod inside;
mod pick;
mod screen;
mod state;
mod terminal;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(pick::run)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    mod screen;
    mod state;
}
