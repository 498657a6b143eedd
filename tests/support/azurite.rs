//! A private Azurite on loopback: Microsoft's own emulator of Azure Blob Storage.
//!
//! Knows no program of ours.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::given::{free_ports, has};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// The container that it has.
pub const CONTAINER: &str = "container";

/// A server that is stopped when this is dropped.
pub struct Azurite {
    server: Child,
    port: u16,
}

impl Azurite {
    /// Its files are in `dir`. `None` where it is not installed.
    pub fn start(dir: &Path) -> Option<Self> {
        if !has("azurite-blob") || !has("rclone") {
            return None;
        }
        let [port] = free_ports();
        let server = Command::new("azurite-blob")
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .arg("--location")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { server, port };
        let begun = Instant::now();
        while !server.rclone("mkdir", "").status.success() {
            assert!(begun.elapsed() < READY_WITHIN, "azurite did not start");
            sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    /// A line that goes before commands of a shell.
    pub fn environment(&self) -> String {
        let port = self.port;
        format!(
            "export AZURE_STORAGE_USE_EMULATOR=true AZURITE_BLOB_STORAGE_URL=http://127.0.0.1:{port};"
        )
    }

    /// A client that is not ours, at a path of the container.
    pub fn rclone(&self, what: &str, path: &str) -> Output {
        let url = format!("http://127.0.0.1:{}/devstoreaccount1", self.port);
        let remote = format!(":azureblob,use_emulator=true,endpoint=\"{url}\":{CONTAINER}/{path}");
        let mut rclone = Command::new("rclone");
        rclone.args(["--config", "", "--retries", "1", what, &remote]);
        rclone.output().unwrap()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}
