//! The man pages: the same flags as the programs, lint, and examples that run as they stand.
