//! bk-pick: a full-screen list to choose backups from.

mod cells;
mod chosen;
mod columns;
mod dialogue;
mod events;
mod files;
mod filter;
mod flags;
mod inside;
mod keys;
mod lines;
mod list;
mod marks;
mod page;
mod pick;
mod screen;
mod searched;
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
