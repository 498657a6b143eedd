//! A private SFTP server on loopback: OpenSSH's, with keys and a directory of its own.
//!
//! Knows no program of ours.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::given::{free_ports, lacks};
use super::nobody;

/// It has to be started by its path.
const SSHD: &str = "/usr/sbin/sshd";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A server that is stopped, and its directory removed, when this is dropped.
pub struct Sshd {
    server: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Sshd {
    /// `None` where it is not installed.
    pub fn start() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            lacks("openssh-server is not installed");
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("bk-sftp-")
            .tempdir()
            .unwrap();
        nobody::give(dir.path());
        for key in ["host", "user"] {
            let made = nobody::command("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", key])
                .current_dir(dir.path())
                .status();
            assert!(made.unwrap().success(), "{key}");
        }
        fs::create_dir(dir.path().join("files")).unwrap();
        nobody::give(&dir.path().join("files"));
        let [port] = free_ports();
        let path = |name: &str| dir.path().join(name).display().to_string();
        // Without PAM, who has no password counts as locked out.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
            path("host"),
            path("user.pub")
        );
        fs::write(path("config"), config).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let server = nobody::command(SSHD)
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { server, port, dir };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(begun.elapsed() < READY_WITHIN, "{}", log());
            sleep(Duration::from_millis(50));
        }
    }

    /// Nobody answers any more.
    pub fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// A directory that whoever is logged in may write to.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// A configuration of rclone in which the server is called so.
    pub fn rclone_config(&self, remote: &str) -> String {
        let host_key = fs::read_to_string(self.dir.path().join("host.pub")).unwrap();
        let known = self.dir.path().join("known");
        let port = self.port;
        fs::write(&known, format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        format!(
            "[{remote}]\ntype = sftp\nhost = 127.0.0.1\nport = {port}\nuser = {}\nkey_file = {}\n\
             known_hosts_file = {}\nshell_type = none\n",
            nobody::name(),
            self.dir.path().join("user").display(),
            known.display()
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}
