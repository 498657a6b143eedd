//! What places do, tried with real ones: directories, an S3 server and rclone, each where it is installed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends there, or says what it skips"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "what is shared with the tests of the programs has more than is used here"
)]

mod contract;
mod faults;
mod s3;
mod server;
