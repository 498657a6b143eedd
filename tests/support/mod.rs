//! What the tests share: a sandbox in which command lines run against the built programs.
//!
//! Knows nothing of any one program.

pub mod adopted;
pub mod attack;
pub mod azurite;
pub mod changes;
pub mod compared;
pub mod copies;
pub mod deadline;
pub mod disk;
pub mod given;
pub mod google;
pub mod life;
pub mod mounts;
pub mod nobody;
pub mod oracle;
pub mod poor;
pub mod postgres;
pub mod proxy;
pub mod pulled;
pub mod pushed;
pub mod rich;
pub mod seaweed;
pub mod sshd;
pub mod store;
pub mod tarball;
pub mod tmux;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use duckdb::{AccessMode, Config, Connection};
use serde_json::Value;

pub use given::{has, lacks, stride, whens};

/// The folder of this checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the built programs, beside which this test was built: `make build` fills it.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let programs = test.ancestors().nth(2).unwrap().to_owned();
    assert!(
        programs.join("bk-create").exists(),
        "run 'make build' first"
    );
    programs
}

/// Lines of a shell that wait until what strace traces is stopped, and no longer than a minute.
pub const UNTIL_STOPPED: &str =
    "for n in $(seq 3000); do grep -qs 'stopped by SIGSTOP' trace && break; sleep 0.02; done";

/// Records as bk-adopt makes them again: without what only the making of the archive told.
pub fn as_born(mut records: Vec<Value>) -> Vec<Value> {
    for record in &mut records {
        let metadata = record["backup_metadata"].as_object_mut().unwrap();
        for key in ["new_bytes", "parent", "compression_level", "manifest_hash"] {
            metadata.remove(key);
        }
    }
    records
}

/// Manifests are of archives that have a record, and nothing else is beside them.
pub fn check_manifests(sandbox: &Sandbox) {
    check_manifests_of(sandbox, &sandbox.records());
}

/// The same, where the records are known.
pub fn check_manifests_of<'a>(
    sandbox: &Sandbox,
    records: impl IntoIterator<Item = &'a Value> + Clone,
) {
    let dir = sandbox.home().join("manifests");
    for path in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|it| it.unwrap().path())
    {
        let hash = path.file_stem().unwrap().to_str().unwrap();
        let is_known = records
            .clone()
            .into_iter()
            .any(|it| it["backup_hash"] == hash);
        let is_manifest = path.extension().is_some_and(|it| it == "parquet");
        assert!(is_known && is_manifest, "{path:?} is nobody's");
    }
}

/// What is in a directory, but the marker of a storage; nothing where there is none.
pub fn files_in(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).into_iter().flatten();
    let all = all.map(|file| file.unwrap().path());
    all.filter(|path| !path.ends_with(".bk-storage")).collect()
}

/// The exit status of what was killed.
pub const KILLED: i32 = 137;

/// How to trace with a fault, as strace's `inject` has it. With `--seccomp-bpf` a program stops only
/// at the calls that are asked for, which takes less than half of the time, but strace 6.1 then
/// sends no signal.
pub fn strace(fault: &str) -> &'static str {
    if fault.contains("signal=") {
        "strace -f"
    } else {
        "strace -f --seccomp-bpf"
    }
}

/// Whether strace can be used here; a container may forbid it.
pub fn can_trace() -> bool {
    if !has("strace") {
        return false;
    }
    let tried = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"])
        .output();
    let traces = tried.unwrap().status.success();
    if !traces {
        println!("skipped: strace may not trace here");
    }
    traces
}

/// A scratch directory with a home of its own; removed when it is dropped.
pub struct Sandbox {
    dir: tempfile::TempDir,
    _deadline: deadline::Deadline,
}

/// How a command line went.
#[derive(Debug)]
pub struct Ran {
    pub line: String,
    /// As a shell tells it: 128 + n for an end by signal n.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bk-test-").tempdir();
        let dir = dir.unwrap();
        let _deadline = deadline::Deadline::of(dir.path());
        Self { dir, _deadline }
    }

    /// A sandbox with `app/` in it: something to back up.
    pub fn with_app() -> Self {
        let sandbox = Self::new();
        sandbox.write("app/config.toml", "port = 8080\n");
        let orders: String = (0..18_000).map(|n| format!("order {n}\n")).collect();
        sandbox.write("app/data/orders.db", &orders);
        sandbox.write("app/data/old.log", "long ago\n");
        sandbox.write("app/log/app.log", "started\n");
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
        sandbox.write("app/cache/CACHEDIR.TAG", tag);
        sandbox.write("app/cache/page", "cached\n");
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `$BK_HOME`, which is not there until a program makes it.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn archive(&self, name: &str) -> PathBuf {
        self.home().join("archives").join(format!("{name}.tar.gz"))
    }

    /// Writes a file and the directories above it.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Changes one byte of a file for certain, where to write one might write the one that is there.
    pub fn flip(&self, file: impl AsRef<Path>, at: usize) {
        let path = self.dir.path().join(file);
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at as u64).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
    }

    /// A program in the sandbox: its directory, home and time zone, nothing else of the user's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let path = std::env::var("PATH").unwrap();
        // A signal that the caller ignores (nohup, a shell's '&') would stay ignored in what a test starts. By its
        // path: std forks to search for a name, and copies the page tables of the test program for each command.
        let mut command = Command::new("/usr/bin/env");
        command
            .arg("--default-signal")
            .arg(program)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", programs().display()))
            .env("HOME", self.dir.path())
            .env("BK_HOME", self.home())
            .env("TERM", "xterm")
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Starts a command line whose output is kept.
    pub fn start(&self, line: &str) -> Child {
        let mut command = self.command("bash");
        command
            .args(["-c", line])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs a command line in bash, as a user would type it.
    pub fn run(&self, line: &str) -> Ran {
        let output = self.command("bash").args(["-c", line]).output().unwrap();
        Ran::new(line, output)
    }

    /// Runs a command line that must succeed.
    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{ran:#?}");
        ran
    }

    /// Runs a command line that is stopped once it has called that so many times, on a path
    /// where one is given; goes on with it after the change.
    pub fn stopped_at(&self, call: &str, path: &str, count: u32, line: &str, change: &str) -> Ran {
        let _ = fs::remove_file(self.path("trace"));
        let on_path = match path {
            "" => String::new(),
            path => format!("-P {}", self.path(path).display()),
        };
        self.run(&format!(
            "strace -f -qqq -o trace {on_path} -e trace={call} -e inject={call}:signal=SIGSTOP:when={count} {line} &
             {UNTIL_STOPPED}
             {change}
             kill -CONT $(grep -o -m 1 '^[0-9]*' trace); wait $!"
        ))
    }

    /// The ledger: backup, event, outcome and reason of each row, joined.
    pub fn ledger(&self) -> Vec<String> {
        let config = Config::default().access_mode(AccessMode::ReadOnly).unwrap();
        let catalog = self.home().join("catalog.duckdb");
        let catalog = Connection::open_with_flags(catalog, config).unwrap();
        let sql = "SELECT concat_ws(' ', backup_name, event, outcome, details ->> 'reason')
                   FROM backup_events ORDER BY id";
        let mut rows = catalog.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Changes the catalog behind the programs' backs, as somebody's duckdb shell would.
    pub fn sql(&self, text: &str) {
        self.sql_at("home", text);
    }

    /// The same, of another home.
    pub fn sql_at(&self, home: &str, text: &str) {
        let catalog = Connection::open(self.path(home).join("catalog.duckdb")).unwrap();
        catalog.execute_batch(text).unwrap();
    }

    /// What bk-ls tells, a value a line.
    pub fn records(&self) -> Vec<Value> {
        self.ok("bk-ls --json").records()
    }
}

impl Ran {
    /// Whatever else a test looks at: no program panics, nor DuckDB in it.
    pub fn new(line: &str, output: Output) -> Self {
        let status = output.status;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ran = Self {
            line: line.to_owned(),
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap()),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        for word in ["panicked at", "terminate called"] {
            assert!(!ran.stderr.contains(word), "{ran:#?}");
        }
        assert!(![101, 134].contains(&ran.status), "{ran:#?}");
        ran
    }

    /// Asserts the exit status, and stderr to the letter.
    pub fn fails(&self, status: i32, stderr: &str) {
        assert_eq!(
            (self.status, self.stderr.as_str()),
            (status, stderr),
            "{self:#?}"
        );
    }

    /// The lines of stderr, without the summary that bk-prune ends with.
    pub fn errors(&self) -> Vec<&str> {
        let is_error = |line: &&str| !line.starts_with("bk-prune: removed ");
        self.stderr.lines().filter(is_error).collect()
    }

    /// Every line of stdout is an object.
    pub fn records(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:#?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// What bk-adopt did with which name, each as `ACTION NAME`.
    pub fn actions(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let action = |it: &Value| {
            let action = text(&it["adopt"]["action"]);
            format!("{action} {}", text(&it["backup_name"]))
        };
        self.records().iter().map(action).collect()
    }

    /// What bk-df tells of all, and of each file system.
    pub fn file_systems(&self) -> (Value, Vec<Value>) {
        let mut all = self.records();
        let total = all.pop().unwrap();
        assert_eq!(total["total"], true, "{self:#?}");
        all.retain(|it| it.get("job").is_none() && it.get("location").is_none());
        assert!(all.iter().all(|it| it["total"] == false), "{self:#?}");
        (total, all)
    }

    /// What bk-df tells of a job.
    pub fn job(&self, name: &str) -> Value {
        let found = self.records().into_iter().find(|it| it["job"] == name);
        found.unwrap_or_else(|| panic!("no job {name}: {self:#?}"))
    }

    /// The one line of stdout.
    pub fn record(&self) -> Value {
        let records = self.records();
        assert_eq!(records.len(), 1, "{self:#?}");
        records.into_iter().next().unwrap()
    }
}

/// Runs a target of the Makefile that installs.
pub fn make_in(target: &str, prefix: &str, destdir: &str) -> Ran {
    // What cargo sets for a test would make it build half the crates anew (ring watches it).
    let is_cargos = |(name, _): &(String, String)| {
        name.starts_with("CARGO_PKG") || name.starts_with("CARGO_MANIFEST")
    };
    let cargos = std::env::vars().filter(is_cargos);
    let mut command = Command::new("make");
    cargos.for_each(|(name, _)| {
        command.env_remove(name);
    });
    let output = command
        .args(["--no-print-directory", target])
        .args([format!("PREFIX={prefix}"), format!("DESTDIR={destdir}")])
        .env("DEB_COMPRESSION", "none")
        .current_dir(checkout())
        .output()
        .unwrap();
    let ran = Ran::new(target, output);
    assert_eq!(ran.status, 0, "{ran:#?}");
    ran
}
