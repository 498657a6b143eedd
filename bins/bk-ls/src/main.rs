//! bk-ls: lists backups and what is inside them.

fn main() {}
