//! Some files of a backup, straight from a location: what is read of it for that, and what comes out.

use std::fs;

use crate::support::pulled::encrypt;
use crate::support::pushed::PLACE;
use crate::support::{Ran, Sandbox, can_trace, files_in, has};
use serde_json::Value;

/// A backup of `tree/`: files of 4 MiB that do not compress, small ones between and after them, with links, one of
/// which is far from its first name; copied to a place.
/// Of the archive nothing is left here but, in `kept/`, a copy.
fn with_tree(compression: &str) -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok(&format!(
        "set -e; mkdir -p tree/d; cp -r app tree
         for n in 1 2 3 4 5 6; do head -c 4M /dev/urandom >tree/d/big$n; echo small $n >tree/d/small$n; done
         printf 'a\\0b' >tree/binary; : >tree/empty; mkdir tree/void; ln -s d/small1 tree/link; echo between >tree/d/big3x; ln tree/d/big3x tree/second
         chmod 640 tree/d/small3; chmod 2750 tree/d; touch -d '2001-02-03 04:05:06.789' tree/d/small3 tree/d
         truncate -s 10M tree/holes; printf end >>tree/holes
         BK_HOST=web bk-create --compression {compression} --name t tree >/dev/null"
    ));
    sandbox.usb();
    sandbox.ok("bk-push usb t; mkdir kept; mv home/archives/* kept");
    sandbox
}

/// As bk-restore makes the same from the archive itself.
fn check_as_restored(sandbox: &Sandbox, words: &str, out: &str) {
    sandbox.ok(&format!(
        "set -e; cp kept/t.tar.* home/archives; rm -rf expected; bk-restore -C expected {words} >/dev/null 2>&1; rm home/archives/t.tar.*
         list() {{ (cd $1; find . -type d -printf '%P %y %m %u %g\\n'; find . ! -type d -printf '%P %y %m %u %g %s %b %n %l %T@\\n'
             find . -type d -mtime +1 -printf '%P %T@\\n') | sort; }}
         list expected >one; list {out} >two; diff one two; diff -r --no-dereference expected {out}"
    ));
}

/// How much bk-pull says that it read.
fn read_bytes(ran: &Ran) -> u64 {
    ran.record()["pull"]["read_bytes"].as_u64().unwrap()
}

#[test]
fn files_come_as_bk_restore_restores_them() {
    for compression in ["gzip --level 1", "zstd:1"] {
        let sandbox = with_tree(compression);
        for (number, path) in [
            "tree/d/small3",
            "tree/d",
            "tree/app",
            "link",
            "void",
            "holes",
            "tree/second",
            "*",
        ]
        .into_iter()
        .enumerate()
        {
            let ran = sandbox.ok(&format!("bk-pull --path '{path}' -C out{number} usb t"));
            assert_eq!(ran.stderr, "", "{ran:#?}");
            check_as_restored(
                &sandbox,
                &format!("--path '{path}' t"),
                &format!("out{number}"),
            );
        }
        // An empty directory stays itself.
        sandbox.ok("mkdir -m 700 there; ls -di there >before");
        let ran = sandbox.ok(
            "cd there && bk-pull --path d/small3 --path binary --path tree/d/small3 -C . usb t",
        );
        assert_eq!(
            ran.stderr,
            "bk-pull: warning: --path 'd/small3' matched nothing\n"
        );
        sandbox.ok("ls -di there >after; diff before after; cmp there/tree/binary tree/binary; test $(ls -A there | wc -l) = 1");
    }
}

#[test]
fn the_record_is_printed_with_what_was_read_and_the_ledger_has_it() {
    let sandbox = with_tree("gzip --level 1");
    let ran = sandbox.ok("bk-pull --path tree/d/small4 --path tree/app -C out usb t");
    let mut pull = ran.record()["pull"].clone();
    let row = sandbox.ok("bk-log --json --event pull").record();
    assert_eq!((&row["outcome"], &row["details"]), (&"ok".into(), &pull));
    let pull = pull.as_object_mut().unwrap();
    for counted in ["seconds", "read_bytes", "bytes"] {
        assert!(
            pull.remove(counted).unwrap().as_f64().unwrap() > 0.0,
            "{counted}"
        );
    }
    let out = sandbox.path("out");
    let expected =
        serde_json::json!({ "location": "usb", "path": out, "entries": 11, "skipped": 0 });
    assert_eq!(Value::Object(pull.clone()), expected);
    // The archive is as missing as it was.
    assert_eq!(ran.record()["file_status"], "missing");
}

#[test]
fn one_file_is_printed_and_nothing_else() {
    for compression in ["gzip --level 1", "zstd:1"] {
        let sandbox = with_tree(compression);
        for path in ["binary", "empty", "tree/d/big3", "second", "holes"] {
            let name = sandbox.ok(&format!("find tree -path '*{path}'")).stdout;
            let ran = sandbox.ok(&format!(
                "bk-pull --path '{path}' --stdout usb t >out; cmp out {}",
                name.trim()
            ));
            assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""), "{ran:#?}");
        }
        for (path, why) in [
            (
                "tree/d",
                "--stdout prints one file, and several are selected",
            ),
            ("void", "--stdout prints a file, and none is selected"),
            (
                "nothing",
                "the backup holds nothing that is selected: 'bk-ls --files' lists what it holds",
            ),
        ] {
            let told = format!("bk-pull: cannot restore files of 't' from 'usb': {why}\n");
            sandbox
                .run(&format!("bk-pull --path {path} --stdout usb t"))
                .fails(1, &told);
        }
        // Nobody reads.
        sandbox.ok("bk-pull --path tree/d/big3 --stdout usb t | head -c 10 | wc -c");
    }
}

#[test]
fn what_bk_find_found_comes() {
    let sandbox = with_tree("gzip --level 1");
    let ran = sandbox.ok("bk-find small1 big3x second | bk-pull -C out usb");
    assert_eq!(
        (&*ran.stderr, ran.record()["pull"]["entries"].clone()),
        ("", 3.into())
    );
    sandbox.ok("cmp out/tree/d/small1 tree/d/small1; test out/tree/second -ef out/tree/d/big3x; test ! -e out/tree/d/big1");
    let ran = sandbox.ok("bk-find 'binary' | bk-pull --stdout usb | cmp - tree/binary");
    assert_eq!(ran.stderr, "");
    // A path that is not there keeps no other from coming.
    let lines = r#"printf '{"id":1,"path":"tree/no"}\n{"backup_name":"t","path_base64":"dHJlZS9iaW5hcnk="}\n'"#;
    let ran = sandbox.run(&format!("{lines} | bk-pull -C part usb"));
    ran.fails(1, "bk-pull: warning: the backup holds no 'tree/no'\n");
    assert_eq!(ran.record()["pull"]["entries"], 1);
    sandbox.ok("cmp part/tree/binary tree/binary");
    for (line, told) in [
        (
            "bk-find binary | bk-pull --path x -C new usb",
            "the lines tell which paths to restore: give no others",
        ),
        (
            "(bk-find binary; echo 1) | bk-pull -C new usb",
            "the lines tell which paths to restore: give no others",
        ),
        (
            "bk-find binary | bk-pull usb",
            "where to? Give -C DIR or --stdout",
        ),
        (
            "bk-pull --path x usb t",
            "where to? Give -C DIR or --stdout",
        ),
        (
            "bk-pull --path x -C new --stdout usb t",
            "where to? Give -C DIR or --stdout",
        ),
        (
            "bk-find binary | bk-pull -n -C new usb",
            "--dry-run is for whole archives: restoring files changes no other",
        ),
        (
            "bk-pull --path x --stdout usb </dev/null",
            "no backup given for --stdout",
        ),
        (
            "bk-pull --path '[' -C new usb t",
            "--path: invalid glob '[': a '[' has no ']'",
        ),
        (
            r#"echo '{"id":1,"path":"../x"}' | bk-pull -C new usb"#,
            "bad input: the name '../x' contains '..'",
        ),
    ] {
        sandbox.run(line).fails(2, &format!("bk-pull: {told}\n"));
    }
    sandbox.ok("BK_HOST=web bk-create --name u app; bk-push usb u");
    let told = "bk-pull: several backups cannot be restored to one place: give one\n";
    sandbox
        .run("bk-pull --path x -C new usb t u")
        .fails(2, told);
    sandbox.ok("test ! -e new; bk-pull --path x -C new usb </dev/null");
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_nothing_is_read() {
    let sandbox = with_tree("gzip --level 1");
    sandbox.ok("mkdir full; echo x >full/x; echo x >file");
    let path = |name: &str| sandbox.path(name).display().to_string();
    for (dir, why) in [
        (
            "full",
            format!(
                "'{}' is not empty: name an empty or a new directory",
                path("full")
            ),
        ),
        ("file", format!("'{}' is not a directory", path("file"))),
        (
            "no/where",
            format!(
                "cannot restore to '{}': '{}': No such file or directory",
                path("no/where"),
                path("no")
            ),
        ),
    ] {
        let told = format!("bk-pull: cannot restore files of 't' from 'usb': {why}\n");
        sandbox
            .run(&format!("bk-pull --path binary -C {dir} usb t"))
            .fails(1, &told);
    }
    sandbox.ok("test $(ls -A full | wc -l) = 1");
}

/// The manifest is fetched where the home has none, and kept.
#[test]
fn a_manifest_that_is_not_here_comes_from_there() {
    let sandbox = with_tree("gzip --level 1");
    let with = read_bytes(&sandbox.ok("bk-pull --path binary -C out1 usb t"));
    sandbox.ok("cp -r home/manifests manifests; rm home/manifests/*");
    let without = read_bytes(&sandbox.ok("bk-pull --path binary -C out2 usb t"));
    let size = sandbox
        .ok("stat -c %s manifests/*")
        .stdout
        .trim()
        .parse::<u64>()
        .unwrap();
    assert_eq!(without, with + size);
    sandbox.ok("diff -r home/manifests manifests; diff -r out1 out2");
    assert_eq!(
        read_bytes(&sandbox.ok("bk-pull --path binary -C out3 usb t")),
        with
    );
    // One that is damaged is replaced, and one that was made from the archive, which tells no places.
    for manifest in files_in(&sandbox.path("home/manifests")) {
        sandbox.flip(manifest, 100);
    }
    assert_eq!(
        read_bytes(&sandbox.ok("bk-pull --path binary -C out4 usb t")),
        without
    );
    sandbox.ok("rm home/manifests/*; cp kept/t.tar.gz home/archives; bk-find binary >/dev/null; rm home/archives/t.tar.gz");
    assert_eq!(
        read_bytes(&sandbox.ok("bk-pull --path binary -C out5 usb t")),
        without
    );
    sandbox.ok("diff -r home/manifests manifests");
    // Nobody but the record says which one it is.
    sandbox.ok("rm home/manifests/*");
    let metadata = "UPDATE backup_records SET backup_metadata = json_merge_patch(backup_metadata, '{\"manifest_hash\":";
    let hash = sandbox.records()[0]["backup_metadata"]["manifest_hash"].clone();
    sandbox.sql(&format!("{metadata}null}}')"));
    let told = "bk-pull: cannot restore files of 't' from 'usb': there is no manifest here, and its record does not tell the hash \
                of the one there; 'bk-pull usb 1' brings it whole, and bk-restore restores files of it\n";
    sandbox
        .run("bk-pull --path binary -C new usb t")
        .fails(1, told);
    sandbox.sql(&format!("{metadata}{hash}}}')"));
    // One there that is not that of the record, and none at all.
    let name = sandbox.ok("ls place/web/archives/*.parquet").stdout;
    let beside = sandbox.path(name.trim());
    let key = name.trim().strip_prefix("place/").unwrap().to_owned();
    let whole = fs::read(&beside).unwrap();
    let way_out = "'bk-pull usb 1' brings it whole, and bk-restore restores files of it";
    for (bytes, why) in [
        (
            Some([&whole[..], b"x"].concat()),
            format!("cannot use '{key}' at 'usb': it is not as it was written"),
        ),
        (
            None,
            format!("it has no manifest, here or there; {way_out}"),
        ),
    ] {
        match bytes {
            Some(bytes) => fs::write(&beside, bytes).unwrap(),
            None => fs::remove_file(&beside).unwrap(),
        }
        sandbox.ok("rm -f home/manifests/*");
        let told = format!("bk-pull: cannot restore files of 't' from 'usb': {why}\n");
        sandbox
            .run("bk-pull --path binary -C new usb t")
            .fails(1, &told);
        sandbox.ok("test ! -e new; test $(ls home/manifests | wc -l) = 0");
    }
}

#[test]
fn a_part_that_is_damaged_is_found_and_nothing_is_restored() {
    let sandbox = with_tree("gzip --level 1");
    let object = sandbox.object("t");
    let whole = fs::read(&object).unwrap();
    let mut bytes = whole.clone();
    let middle = whole.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, &bytes).unwrap();
    let ran = sandbox.run("bk-pull --path 'big*' -C out usb t");
    let told = "bk-pull: cannot restore files of 't' from 'usb': 'web/archives/t-";
    let remedy = "on are not those of its manifest: 'bk-push --check --read 100% usb 1' tells and records that\n";
    let is_told = ran.stderr.starts_with(told) && ran.stderr.ends_with(remedy);
    assert!(
        is_told && ran.status == 1 && ran.stderr.lines().count() == 1,
        "{ran:#?}"
    );
    assert!(
        sandbox
            .ledger()
            .last()
            .unwrap()
            .starts_with("t pull failed 'web/archives/t-")
    );
    // What lies elsewhere is whole.
    sandbox.ok("bk-pull --path 'small*' -C out usb t; cmp out/tree/d/small6 tree/d/small6");
    fs::write(&object, &whole[..middle]).unwrap();
    let ran = sandbox.run("bk-pull --path 'big6' -C cut usb t");
    assert!(
        ran.status == 1 && ran.stderr.contains("damaged"),
        "{ran:#?}"
    );
    sandbox.ok("test ! -e cut; test -z \"$(ls -A | grep bk-restore)\"");
}

/// What the calls read of objects in the place.
fn traced_bytes(sandbox: &Sandbox, line: &str) -> u64 {
    sandbox.ok(&format!(
        "strace -ff -y -qq -o trace -e trace=read,pread64 {line}; cat trace.* >trace"
    ));
    let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
    let place = format!(
        "<{}/",
        sandbox.path(PLACE).canonicalize().unwrap().display()
    );
    let is_of_object = |line: &&str| line.contains(&place) && !line.contains("/.bk-location>");
    let reads = trace.lines().filter(is_of_object);
    let count = |line: &str| -> u64 {
        let word = line.rsplit(" = ").next().unwrap();
        word.parse().unwrap_or_else(|_| panic!("{line}"))
    };
    reads.map(count).sum()
}

fn check_cost(sandbox: &Sandbox, name: &str) {
    let archive = sandbox.ok(&format!("bk-ls --json {name}")).record()["backup_size"].as_u64();
    sandbox.ok("rm home/manifests/*");
    let line = format!("bk-pull --path tree/d/big3x -C cost-{name} usb {name}");
    let read = traced_bytes(sandbox, &line);
    sandbox.ok(&format!("cmp cost-{name}/tree/d/big3x tree/d/big3x"));
    let told = sandbox.ok("bk-log --json --event pull --limit 1").record()["details"]["read_bytes"]
        .clone();
    assert_eq!(told, read);
    let share = read as f64 / archive.unwrap() as f64;
    println!("{read} bytes of {archive:?}: {:.3} %", 100.0 * share);
    assert!(share <= 0.01, "{share}");
}

/// The manifest included.
#[test]
fn a_small_file_costs_a_hundredth_of_its_archive() {
    if !can_trace() {
        return;
    }
    let sandbox = with_tree("gzip --level 1");
    check_cost(&sandbox, "t");
}

#[test]
#[ignore = "a minute: make test-long"]
fn a_small_file_of_a_gigabyte_costs_a_hundredth_of_it() {
    if !can_trace() {
        return;
    }
    let sandbox = with_tree("gzip --level 1");
    sandbox.ok(
        "for n in $(seq 20000); do echo $n; done | (mkdir tree/many; cd tree/many; split -l 1)
         head -c 1G /dev/urandom >tree/d/big4; BK_HOST=web bk-create --level 1 --name g tree; bk-push usb g",
    );
    check_cost(&sandbox, "g");
}

/// By the program age, as bk-push encrypts.
#[test]
fn files_come_through_the_encryption() {
    if !has("age") || !has("age-keygen") {
        return;
    }
    for compression in ["gzip --level 1", "zstd:1"] {
        let sandbox = with_tree(compression);
        sandbox.ok("age-keygen -o key 2>/dev/null; age-keygen -o other 2>/dev/null");
        encrypt(&sandbox, "t", "key");
        let told = "bk-pull: cannot restore files of 't' from 'usb': its copy is encrypted: give the key with --identity FILE\n";
        sandbox
            .run("bk-pull --path binary -C out usb t")
            .fails(1, told);
        for (number, path) in ["tree/d/small3", "tree/d", "binary", "big6", "*"]
            .into_iter()
            .enumerate()
        {
            sandbox.ok("rm -f home/manifests/*");
            let ran = sandbox.ok(&format!(
                "bk-pull --identity key --path '{path}' -C out{number} usb t"
            ));
            assert_eq!(ran.stderr, "", "{ran:#?}");
            check_as_restored(
                &sandbox,
                &format!("--path '{path}' t"),
                &format!("out{number}"),
            );
            if path == "binary" {
                assert!(read_bytes(&ran) < 1 << 20, "{ran:#?}");
            }
        }
        let ran = sandbox.run("bk-pull --identity other --path binary -C new usb t");
        let is_told =
            ran.stderr.ends_with("no key of these opens it\n") && ran.stderr.lines().count() == 1;
        assert!(is_told && ran.status == 1, "{ran:#?}");
        // Each chunk is checked.
        let encrypted = sandbox.object("t");
        let mut bytes = fs::read(&encrypted).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&encrypted, bytes).unwrap();
        let ran = sandbox.run("bk-pull --identity key --path 'big*' -C new usb t");
        assert!(
            ran.status == 1 && ran.stderr.contains("its object is damaged"),
            "{ran:#?}"
        );
        sandbox.ok("test ! -e new");
    }
}

/// Of the begin of an archive, which has its birth facts, the manifest knows nothing.
#[test]
fn what_somebody_puts_into_the_begin_is_not_restored() {
    const FORGE: &str = r#"
import io, sys, tarfile, struct, zlib
path = sys.argv[1]
whole = open(path, "rb").read()
first = zlib.decompressobj(31)
first.decompress(whole)
begin = len(whole) - len(first.unused_data)
text = io.BytesIO()
with tarfile.open(fileobj=text, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "{}"}) as tar:
    entry = tarfile.TarInfo("tree/binary")
    entry.size = 6
    tar.addfile(entry, io.BytesIO(b"forged"))
deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
content = text.getvalue()[:2048]
deflated = deflate.compress(content) + deflate.flush()
trailer = struct.pack("<II", zlib.crc32(content), len(content))
extra = begin - 12 - len(deflated) - 8
member = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", extra) + b"XX" + struct.pack("<H", extra - 4) + bytes(extra - 4)
open(path, "wb").write(member + deflated + trailer + whole[begin:])
"#;
    if !has("python3") {
        return;
    }
    let sandbox = with_tree("gzip --level 1");
    let object = sandbox.object("t");
    let script = sandbox.write("forge.py", FORGE);
    let size = fs::metadata(&object).unwrap().len();
    sandbox.ok(&format!(
        "python3 {} {}",
        script.display(),
        object.display()
    ));
    assert_eq!(fs::metadata(&object).unwrap().len(), size);
    let key = object.strip_prefix(sandbox.path(PLACE)).unwrap().display();
    let told = format!(
        "bk-pull: cannot restore files of 't' from 'usb': cannot read '{key}' at 'usb': its begin holds more than it should\n"
    );
    for how in ["--stdout", "-C out"] {
        let ran = sandbox.run(&format!("bk-pull --path tree/binary {how} usb t"));
        ran.fails(1, &told);
        assert_eq!(ran.stdout, "");
    }
    sandbox.ok("test ! -e out");
}
