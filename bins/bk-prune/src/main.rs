//! bk-prune: removes what a retention policy does not keep.

mod caps;
mod flags;
mod group;
mod policy;
mod prune;
mod removal;
mod report;
mod retention;
mod rules;

fn main() -> std::process::ExitCode {
    flags::PROGRAM.run(prune::run)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    mod calendar;
    mod chain;
    mod precedence;
    mod properties;
    mod store;
}
