//! Archives of zstd frames: what makes them, what else reads them, and that every program does.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Sandbox, has, lacks};

/// A backup `a` of `app/`, of several frames.
fn made() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("seq 400000 >app/large; head -c 3000000 /dev/urandom >app/random");
    sandbox.ok("bk-create --compression zstd --name a app");
    sandbox
}

/// The pairs of a seek table, after all that the format asks for is checked.
fn seek_table(archive: &[u8]) -> Vec<(u32, u32)> {
    let number = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap());
    let end = archive.len();
    assert_eq!(number(end - 4), 0x8f92_eab1);
    assert_eq!(archive[end - 5], 0);
    let count = number(end - 9) as usize;
    let entries = end - 9 - 8 * count;
    assert_eq!(number(entries - 4) as usize, 8 * count + 9);
    assert_eq!(number(entries - 8), 0x184d_2a5e);
    let pair = |at| (number(entries + 8 * at), number(entries + 8 * at + 4));
    let pairs: Vec<_> = (0..count).map(pair).collect();
    assert_eq!(
        pairs.iter().map(|it| it.0 as usize).sum::<usize>(),
        entries - 8
    );
    pairs
}

#[test]
fn every_reader_of_zstd_reads_it() {
    let sandbox = made();
    let record = sandbox.records().remove(0);
    assert_eq!(record["compression_type"], "zstd");
    let path = record["backup_path"].as_str().unwrap();
    assert!(path.ends_with("/archives/a.tar.zst"), "{path}");
    assert_eq!(record["backup_metadata"]["compression_level"], 3);
    let bytes = fs::read(path).unwrap();
    assert_eq!(record["backup_size"], bytes.len());
    let frames = seek_table(&bytes);
    assert!(frames.len() > 6, "{frames:?}");
    let mut at = 0;
    for (frame_bytes, _) in &frames {
        // With the length of its content and a checksum, without a dictionary.
        let descriptor = bytes[at + 4];
        assert_eq!(bytes[at..at + 4], 0xfd2f_b528_u32.to_le_bytes());
        assert!(descriptor & 0b1110_0000 != 0 && descriptor & 0b1_1111 == 0b100);
        at += *frame_bytes as usize;
    }
    sandbox.ok("tar --sort=name -cf - app | wc -c >/dev/null; ln -s home/archives/a.tar.zst a.zst");
    let untars = "out && diff -r --no-dereference app out/app && rm -r out";
    if has("zstd") {
        sandbox.ok("zstd -q -t home/archives/a.tar.zst");
        sandbox.ok(&format!(
            "mkdir out && zstd -dc <a.zst | tar -xf - -C {untars}"
        ));
        sandbox.ok(&format!("mkdir out && tar --zstd -xf a.zst -C {untars}"));
        let content = sandbox.ok("zstd -dc <a.zst | wc -c").stdout;
        let content_bytes: u64 = frames.iter().map(|it| u64::from(it.1)).sum();
        assert_eq!(content.trim(), content_bytes.to_string());
    }
    if has("bsdtar") {
        sandbox.ok(&format!("mkdir out && bsdtar -xf a.zst -C {untars}"));
    }
    if sandbox.run("python3 -c 'import zstandard'").status != 0 {
        return lacks("Python has no zstandard");
    }
    let python = "import tarfile, zstandard
with open('a.zst', 'rb') as raw:
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    tarfile.open(fileobj=reader, mode='r|').extractall('out')";
    fs::write(sandbox.path("read.py"), python).unwrap();
    sandbox.ok("mkdir out; python3 -W ignore read.py; diff -r --no-dereference app out/app");
}

#[test]
fn every_program_reads_it() {
    let sandbox = made();
    sandbox.ok("bk-create --name b app");
    let files = |name: &str| {
        let ran = sandbox.ok(&format!("bk-ls --files {name}"));
        let without = |mut line: Value| {
            for key in ["id", "backup_name"] {
                line.as_object_mut().unwrap().remove(key);
            }
            line
        };
        ran.records().into_iter().map(without).collect::<Vec<_>>()
    };
    assert_eq!(files("a"), files("b"));
    for level in ["--quick", "", "--deep"] {
        let ran = sandbox.ok(&format!("bk-verify {level} a"));
        assert_eq!(
            (ran.record()["verify"]["ok"].clone(), &*ran.stderr),
            (json!(true), "")
        );
    }
    sandbox.ok("bk-restore -C out a && diff -r app out/app && bk-restore --test a");
    sandbox.ok("bk-restore -C some --path app/data/orders.db --path app/log a");
    let some = sandbox.ok("cd some; find . -type f | sort").stdout;
    assert_eq!(some, "./app/data/orders.db\n./app/log/app.log\n");
    sandbox.ok("bk-restore --stdout app/large a | cmp - app/large");
    sandbox.ok("bk-set -d x a && bk-mv a -- else && bk-verify --deep a && mv else home/archives");

    let before = sandbox.records();
    sandbox.ok("rm home/catalog.duckdb*; bk-adopt -r home/archives");
    let after = sandbox.records();
    for (old, new) in before.iter().zip(&after) {
        for key in [
            "backup_name",
            "compression_type",
            "backup_size",
            "file_count",
            "backup_hash",
        ] {
            assert_eq!(old[key], new[key], "{key}");
        }
    }
    assert_eq!(after.len(), 2);
    sandbox.ok("bk-rm a && ! ls home/archives/else/*.zst");
}

#[test]
fn only_the_parts_with_a_name_are_read() {
    let sandbox = made();
    sandbox.ok("bk-ls --files a >files");
    // Damage far from what is wanted is not met; without the table all is read, and it is.
    let path = sandbox.home().join("archives/a.tar.zst");
    let mut bytes = fs::read(&path).unwrap();
    let frames = seek_table(&bytes);
    let largest = (0..frames.len()).max_by_key(|at| frames[*at].0).unwrap();
    let begin: usize = frames[..largest].iter().map(|it| it.0 as usize).sum();
    bytes[begin + frames[largest].0 as usize / 2] ^= 0xff;
    fs::write(&path, &bytes).unwrap();
    let one = "rm -rf out; bk-restore --no-verify -C out --path app/config.toml a";
    sandbox.ok(one);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let ran = sandbox.run(one);
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(ran.stderr.contains("a member"), "{ran:#?}");
}

#[test]
fn what_comes_through_a_pipe_has_its_header_rewritten_in_place() {
    let sandbox = Sandbox::with_app();
    for (name, line) in [
        ("some", "cat app/data/orders.db"),
        ("none", "true"),
        ("much", "seq 500000"),
    ] {
        sandbox.ok(&format!("{line} >expected; bk-create --compression zstd:1 --name {name} --stdin-filename f -- <expected"));
        sandbox.ok(&format!(
            "bk-verify --deep {name} && bk-restore --stdout f {name} | cmp - expected"
        ));
        seek_table(&fs::read(sandbox.home().join(format!("archives/{name}.tar.zst"))).unwrap());
        if has("zstd") {
            let line = format!("tar --zstd -xOf home/archives/{name}.tar.zst f | cmp - expected");
            sandbox.ok(&line);
        }
    }
}

#[test]
fn the_flag_comes_before_the_variable_and_a_request_before_both() {
    let sandbox = Sandbox::with_app();
    let made = |line: &str| {
        let record = sandbox.ok(line).record();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!(
            "{} {} {}",
            text(&record["compression_type"]),
            record["backup_metadata"]["compression_level"],
            text(&record["backup_path"]).rsplit_once(".tar.").unwrap().1
        )
    };
    for (line, expected) in [
        ("bk-create app", "gzip 6 gz"),
        ("bk-create --compression gzip app", "gzip 6 gz"),
        ("bk-create --compression gzip:1 app", "gzip 1 gz"),
        ("bk-create --compression gzip --level 9 app", "gzip 9 gz"),
        ("bk-create --compression zstd app", "zstd 3 zst"),
        ("bk-create --compression zstd:1 app", "zstd 1 zst"),
        ("bk-create --compression zstd:19 app", "zstd 19 zst"),
        ("BK_COMPRESSION=zstd bk-create app", "zstd 3 zst"),
        ("BK_COMPRESSION=zstd:7 bk-create app", "zstd 7 zst"),
        ("BK_COMPRESSION= bk-create app", "gzip 6 gz"),
        (
            "BK_COMPRESSION=zstd bk-create --compression gzip --level 2 app",
            "gzip 2 gz",
        ),
    ] {
        assert_eq!(made(line), expected, "{line}");
    }
    for (codec, flags, expected) in [
        ("zstd", "", "zstd 3 zst"),
        ("zstd", "--compression zstd:9", "zstd 9 zst"),
        ("gzip", "--compression zstd:9", "gzip 6 gz"),
        ("zstd", "--level 9", "zstd 3 zst"),
        ("gzip", "--level 9", "gzip 9 gz"),
    ] {
        let line = format!(
            "echo '{{\"sources\":\"app\",\"compression_type\":\"{codec}\"}}' | bk-create {flags} -"
        );
        assert_eq!(made(&line), expected, "{line}");
    }
    let form = "use gzip, zstd, or zstd:LEVEL with a level from 1 to 19";
    for text in [
        "lz4", "zstd:0", "zstd:20", "zstd:-1", "zstd:+1", "zstd:", "gzip:13", "ZSTD",
    ] {
        let told = format!("invalid compression '{text}': {form}\n");
        let told = |of: &str| format!("bk-create: {of}: {told}");
        sandbox
            .run(&format!("bk-create --compression {text} app"))
            .fails(2, &told("--compression"));
        sandbox
            .run(&format!("BK_COMPRESSION={text} bk-create app"))
            .fails(2, &told("BK_COMPRESSION"));
    }
    let level = "bk-create: --level is for gzip: write --compression zstd:LEVEL\n";
    sandbox
        .run("bk-create --compression zstd --level 9 app")
        .fails(2, level);
    sandbox
        .run("echo '{\"sources\":\"app\",\"compression_type\":\"lz4\"}' | bk-create -")
        .fails(
            2,
            "bk-create: bad input: line 1: its compression_type: is neither gzip nor zstd\n",
        );
    assert_eq!(sandbox.records().len(), 16);
}

#[test]
fn the_same_tree_makes_the_same_frames() {
    let sandbox = made();
    sandbox.ok("bk-create --compression zstd --name one --no-parent -j 1 app");
    sandbox.ok("bk-create --compression zstd --name two --no-parent -j 3 app");
    let frames = |name: &str| {
        let bytes = fs::read(sandbox.home().join(format!("archives/{name}.tar.zst"))).unwrap();
        let frames = seek_table(&bytes);
        let first = frames[0].0 as usize;
        let end = frames.iter().map(|it| it.0 as usize).sum();
        (bytes[first..end].to_vec(), frames[1..].to_vec())
    };
    assert!(frames("one") == frames("two") && frames("a") == frames("one"));
}

#[test]
fn a_parent_of_the_same_codec_and_level_gives_its_frames() {
    let sandbox = made();
    // Longer ago than what may have changed unseen.
    sandbox.ok("sleep 2.5; touch before; bk-create --compression zstd --name p --no-parent app; echo new >app/new");
    let made = |name: &str, flags: &str| {
        let record = sandbox
            .ok(&format!("bk-create --name {name} {flags} app"))
            .record();
        let metadata = &record["backup_metadata"];
        (
            metadata["parent"].clone(),
            metadata["new_bytes"].as_u64().unwrap(),
        )
    };
    let (parent, new_bytes) = made("child", "--compression zstd");
    assert_eq!(parent, "p");
    assert!(new_bytes < 500_000, "{new_bytes}");
    assert_eq!(
        made("alone", "--compression zstd --no-parent").0,
        Value::Null
    );
    for flags in ["--compression zstd:4", "--compression gzip"] {
        assert_eq!(
            made(&flags[14..].replace(':', ""), flags).0,
            Value::Null,
            "{flags}"
        );
    }
    let frames = |name: &str| {
        let bytes = fs::read(sandbox.home().join(format!("archives/{name}.tar.zst"))).unwrap();
        let frames = seek_table(&bytes);
        (
            bytes[frames[0].0 as usize..bytes.len() - 9 - 8 * frames.len()].to_vec(),
            frames[1..].to_vec(),
        )
    };
    assert!(frames("child") == frames("alone"));
    sandbox.ok("bk-verify --deep child && bk-restore -C out child && diff -r app out/app");
}

#[test]
fn a_job_has_its_compression() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-auto --set j --schedule @daily --create-flag=--exclude='*.log' --compression zstd:5 -- app");
    let flags = || sandbox.ok("bk-auto --list").record()["create_flags"].clone();
    assert_eq!(flags(), json!(["--exclude=*.log", "--compression=zstd:5"]));
    let record = sandbox.ok("bk-auto --now j").record();
    assert_eq!(record["compression_type"], "zstd");
    assert_eq!(record["backup_metadata"]["compression_level"], 5);
    sandbox.ok("bk-auto --set j --compression gzip");
    assert_eq!(flags(), json!(["--exclude=*.log", "--compression=gzip"]));
    let form = "use gzip, zstd, or zstd:LEVEL with a level from 1 to 19";
    sandbox.run("bk-auto --set j --compression xz").fails(
        2,
        &format!("bk-auto: --compression: invalid compression 'xz': {form}\n"),
    );
    sandbox
        .run("bk-auto --set j --create-flag=--compression=xz")
        .fails(
            2,
            &format!("bk-auto: --create-flag: invalid compression 'xz': {form}\n"),
        );
}

#[test]
fn the_longest_name_fits_and_what_a_killed_process_left_goes() {
    let sandbox = Sandbox::with_app();
    let name = "é".repeat(100);
    sandbox.ok(&format!("bk-create --compression zstd --name {name} app"));
    sandbox.ok(&format!(
        "bk-verify --deep {name}; test -f home/archives/{name}.tar.zst"
    ));
    sandbox.ok("mkfifo pipe; exec 3<>pipe
         bk-create --compression zstd --name killed --stdin-filename f <pipe 2>/dev/null & pid=$!
         until test -e home/archives/killed.tar.zst.partial; do sleep 0.02; done
         kill -9 $pid; wait $pid
         bk-create --compression zstd --name next app
         ! test -e home/archives/killed.tar.zst.partial");
    let status = sandbox.ok("bk-ls --json killed").record()["status"].clone();
    assert_eq!(status, "failed");
}
