//! A private SeaweedFS server on loopback: an S3 store with locks, conditional puts and checksums.
//!
//! Knows no program of ours. The tests of bk-remote have it too.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::given::{free_ports, has};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A key pair.
#[derive(Clone, Copy)]
pub struct Keys {
    pub id: &'static str,
    pub secret: &'static str,
}

/// May do everything.
pub const ADMIN: Keys = Keys {
    id: "ADMINKEY",
    secret: "ADMINSECRET",
};
/// May only write, and lock what it writes.
pub const PUT_ONLY: Keys = Keys {
    id: "PUTKEY",
    secret: "PUTSECRET",
};

/// What a key pair may be given.
const ALL: [&str; 5] = ["Admin", "Read", "Write", "List", "Tagging"];

impl Keys {
    /// A line that goes before commands of a shell.
    pub fn environment(self) -> String {
        let Self { id, secret } = self;
        format!("export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret};")
    }
}

/// A server that is stopped, and its directory removed, when this is dropped.
pub struct Seaweed {
    server: Child,
    ports: Ports,
    dir: tempfile::TempDir,
}

/// Of master, volumes, filer and S3, each with that of its gRPC.
type Ports = [u16; 8];

impl Seaweed {
    /// `None` where it is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// One that lets everybody do everything.
    pub fn start_open() -> Option<Self> {
        Self::start_with(&[json!({"name": "anonymous", "actions": ALL})])
    }

    fn start_with(more: &[Value]) -> Option<Self> {
        if !has("weed") || !has("curl") {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("bk-s3-").tempdir().unwrap();
        let identity = |name: &str, keys: Keys, actions: &[&str]| {
            let pair = json!({"accessKey": keys.id, "secretKey": keys.secret});
            json!({"name": name, "credentials": [pair], "actions": actions})
        };
        let mut identities = vec![
            identity("admin", ADMIN, &ALL),
            identity("put-only", PUT_ONLY, &["Write", "PutObjectRetention"]),
        ];
        identities.extend_from_slice(more);
        let config = json!({"identities": identities}).to_string();
        fs::write(dir.path().join("s3.json"), config).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let ports = free_ports();
        let server = run(dir.path(), ports);
        let server = Self { server, ports, dir };
        server.wait();
        Some(server)
    }

    /// Kills it, and starts it again with what it has.
    pub fn restart(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = run(self.dir.path(), self.ports);
        self.wait();
    }

    /// Until it takes an object.
    fn wait(&self) {
        let begun = Instant::now();
        let bucket: &[&str] = &["-X", "PUT"];
        let object: &[&str] = &["-T", "s3.json"];
        // The bucket is there already after a restart.
        for (words, path, there) in [(bucket, "ready", 409), (object, "ready/x", 200)] {
            while ![200, there].contains(&self.status(ADMIN, words, path)) {
                let log = || fs::read_to_string(self.dir.path().join("log")).unwrap();
                assert!(begun.elapsed() < READY_WITHIN, "{path}: {}", log());
                sleep(Duration::from_millis(100));
            }
        }
    }

    /// Where curl finds files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[6])
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, name: &str, has_locks: bool) {
        let locks = format!("x-amz-bucket-object-lock-enabled: {has_locks}");
        assert_eq!(self.status(ADMIN, &["-X", "PUT", "-H", &locks], name), 200);
    }

    /// A request by curl, to a path with its query. What is sent is a file: of `--data`, curl signs another
    /// hash than it tells.
    pub fn curl(&self, keys: Keys, words: &[&str], path: &str) -> Output {
        let mut curl = Command::new("curl");
        let user = format!("{}:{}", keys.id, keys.secret);
        curl.args(["-sS", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", &user]);
        let url = format!("{}/{path}", self.endpoint());
        curl.args(words).arg(url).current_dir(self.dir.path());
        curl.output().unwrap()
    }

    /// The status of the answer; none is 0.
    pub fn status(&self, keys: Keys, words: &[&str], path: &str) -> u32 {
        let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
        all.extend(words);
        let told = self.curl(keys, &all, path).stdout;
        String::from_utf8(told).unwrap().parse().unwrap()
    }
}

fn run(dir: &Path, ports: Ports) -> Child {
    let [
        master,
        master_grpc,
        volume,
        volume_grpc,
        filer,
        filer_grpc,
        s3,
        s3_grpc,
    ] = ports;
    let log = fs::File::create(dir.join("log")).unwrap();
    Command::new("weed")
        .arg("server")
        .args(["-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
        .args([
            format!("-master.port={master}"),
            format!("-master.port.grpc={master_grpc}"),
        ])
        .args([
            format!("-volume.port={volume}"),
            format!("-volume.port.grpc={volume_grpc}"),
        ])
        .args([
            format!("-filer.port={filer}"),
            format!("-filer.port.grpc={filer_grpc}"),
        ])
        .args([format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
        .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64"])
        .args(["-volume.max=100", "-filer", "-filer.localSocket=filer.sock"])
        .args(["-s3", "-s3.config=s3.json", "-s3.localSocket=s3.sock"])
        // Services beside S3, on ports of their own.
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .current_dir(dir)
        .env("HOME", dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // What it holds goes with its directory.
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}
