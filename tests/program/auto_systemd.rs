//! The installed units under a real systemd: that of this machine, in namespaces of its own, over a
//! layer that takes what it writes. Its timer comes every three seconds here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Sandbox, has, make_in};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const INIT: &str = "/lib/systemd/systemd";
/// It boots and does its work in a few seconds, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// Becomes systemd, whose first process is the child of this one. Only its own group of processes,
/// its layer and its own network are in reach.
const BOOT: &str = r#"
echo $$ >"$1/cgroup.procs" || exit 99
exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net sh -ec '
    r=$PWD/box/root; mkdir box; mount -t tmpfs none box || exit 99; mkdir box/up box/work $r
    mount -t overlay -o lowerdir=/,upperdir=box/up,workdir=box/work overlay $r || exit 99
    mount -t proc proc $r/proc; mount --bind $r/proc/sys $r/proc/sys; mount -o remount,ro,bind $r/proc/sys
    mount -t sysfs -o ro sysfs $r/sys; mount -t cgroup2 cgroup2 $r/sys/fs/cgroup || exit 99
    for it in dev run tmp; do mount -t tmpfs -o mode=755 none $r/$it; done
    for it in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
        mknod -m 666 $r/dev/${it%%:*} c $(echo ${it#*:} | tr : " ") || exit 99
    done
    mkdir $r/dev/shm $r/dev/pts; ln -s pts/ptmx $r/dev/ptmx
    mount -t devpts -o newinstance,ptmxmode=666 devpts $r/dev/pts
    cp -a installed/. $r/; rm -rf $r/var/lib/bk; cp -a home $r/var/lib/bk
    cd $r/etc/systemd; rm -rf system/*.wants system/*.requires
    for it in udevd.service udevd-kernel.socket udevd-control.socket udev-trigger.service; do
        ln -sf /dev/null system/systemd-$it
    done
    mkdir -p journald.conf.d system/bk-auto.timer.d
    printf "[Journal]\nStorage=volatile\n" >journald.conf.d/test.conf
    printf "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/3\n" >system/bk-auto.timer.d/test.conf
    printf "[Unit]\nRequires=basic.target\nAfter=basic.target\n" >system/bk-test.target
    systemctl --root=$r --quiet enable bk-auto.timer
    exec env -i container=bk-test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot $r /lib/systemd/systemd --unit=bk-test.target
'
"#;

/// A systemd that runs; it and all below it end with this.
struct Booted {
    child: Child,
    cgroup: PathBuf,
}

impl Booted {
    /// `None` where this machine cannot.
    fn new(sandbox: &Sandbox) -> Option<Self> {
        let all = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let top = all.iter().find(|it| it.join("cgroup.procs").exists());
        let is_root = rustix::process::geteuid().is_root();
        let Some(top) = top.filter(|_| is_root && Path::new(INIT).exists()) else {
            println!("skipped: only root can boot systemd, where it is installed");
            return None;
        };
        let cgroup = top.join(sandbox.path("").file_name().unwrap());
        if fs::create_dir(&cgroup).is_err() {
            println!("skipped: no cgroup can be made here");
            return None;
        }
        let mut command = sandbox.command("sh");
        let child = command
            .args(["-c", BOOT, "sh"])
            .arg(&cgroup)
            .stdout(Stdio::null())
            .stderr(fs::File::create(sandbox.path("boot.log")).unwrap())
            .spawn();
        let child = child.unwrap();
        Some(Self { child, cgroup })
    }

    /// systemd itself, once it is there.
    fn init(&self) -> Option<Pid> {
        let id = self.child.id();
        let below = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(below.split_whitespace().next()?.parse().ok()?)
    }

    /// What the journal has of these fields.
    fn journal(&self, matches: &[&str], format: &[&str]) -> String {
        let Some(init) = self.init() else {
            return String::new();
        };
        let dir = format!("/proc/{}/root/run/log/journal", init.as_raw_nonzero());
        let mut command = Command::new("journalctl");
        let output = command
            .args(["-D", &dir, "-q", "--no-pager"])
            .args(format)
            .args(matches)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    fn entries(&self, matches: &[&str]) -> Vec<Value> {
        let text = self.journal(matches, &["-o", "json"]);
        text.lines()
            .filter_map(|it| serde_json::from_str(it).ok())
            .collect()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The end of its first process is the end of all in its namespace.
        if let Some(init) = self.init() {
            let _ = kill_process(init, Signal::KILL);
        }
        let _ = self.child.wait();
        let mut command = Command::new("find");
        let _ = command
            .arg(&self.cgroup)
            .args(["-depth", "-type", "d", "-delete"])
            .status();
    }
}

#[test]
fn the_timer_runs_what_is_due_and_the_journal_tells_it() {
    if !has("unshare") || !has("journalctl") {
        return;
    }
    let sandbox = Sandbox::new();
    let installed = sandbox.path("installed").display().to_string();
    make_in("install", "/usr/local", &installed);
    sandbox.ok(
        "bk-auto --set late -s '0 3 * * *' --enable -- /etc/systemd >/dev/null
         bk-auto --set gone -s '0 3 * * *' --enable -- /etc/systemd/gone >/dev/null
         bk-auto --set early -s '0 3 1 1 *' --enable -- /etc/systemd >/dev/null",
    );
    // The machine was off for days: many times were missed.
    let missed = "now()::TIMESTAMP - INTERVAL 5 DAY";
    sandbox.sql(&format!(
        "UPDATE settings SET value = strftime({missed}, '%Y-%m-%dT%H:%M:%SZ')
        WHERE name IN ('auto_backup_since.late', 'auto_backup_since.gone')"
    ));
    let Some(booted) = Booted::new(&sandbox) else {
        return;
    };
    // Rounds after that in which all was made up for find nothing to do.
    let rounds = || {
        booted
            .entries(&["UNIT=bk-auto.service", "JOB_RESULT=done"])
            .len()
    };
    let began = Instant::now();
    while rounds() < 2 {
        let log = fs::read_to_string(sandbox.path("boot.log")).unwrap();
        if booted.init().is_none() && began.elapsed() > Duration::from_secs(5) {
            println!("skipped: systemd does not boot here: {log}");
            return;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{log}{}",
            booted.journal(&[], &["-n", "100"])
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let told = booted.entries(&["SYSLOG_IDENTIFIER=bk-auto", "BK_JOB=late"]);
    assert_eq!(told.len(), 1, "{told:#?}");
    for (key, value) in [
        ("_SYSTEMD_UNIT", "bk-auto.service"),
        ("_TRANSPORT", "journal"),
        ("PRIORITY", "6"),
        ("SYSLOG_FACILITY", "3"),
        ("BK_OUTCOME", "ok"),
    ] {
        assert_eq!(told[0][key], value, "{told:#?}");
    }
    let name = told[0]["BK_BACKUP"].as_str().unwrap();
    assert!(name.starts_with("late_"), "{name}");
    let of_create = booted.entries(&["SYSLOG_IDENTIFIER=bk-create", "BK_OUTCOME=ok"]);

    assert_eq!(of_create.len(), 1, "{of_create:#?}");
    assert_eq!(of_create[0]["BK_BACKUP"], name);
    // As bk-auto(1) shows it.
    let reasons = booted.journal(
        &[
            "BK_JOB=gone",
            "BK_OUTCOME=failed",
            "SYSLOG_IDENTIFIER=bk-auto",
        ],
        &["-o", "cat", "--output-fields=BK_REASON"],
    );
    assert_eq!(
        reasons,
        "cannot back up '/etc/systemd/gone': No such file or directory\n"
    );
    assert!(booted.entries(&["BK_JOB=early"]).is_empty());
}
