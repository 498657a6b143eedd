//! Archives of zstd frames that other programs made, of one frame or many, with and without what bk writes.

use std::fs;

use crate::support::{Sandbox, has, stride};

/// What makes each, and how many frames it has at least.
const MAKERS: [&str; 10] = [
    "tar --zstd -cf made app",
    "tar -cf - app | zstd -q >made",
    "tar -cf tar app; zstd -q -c tar >made",
    "tar -cf tar app; zstd -q -c --no-check tar >made",
    "tar -cf tar app; zstd -q -c --no-content-size tar >made",
    "tar -cf tar app; zstd -q -c --ultra -22 tar >made",
    "tar -cf tar app; zstd -q -c --long=27 tar >made",
    "tar -cf tar app; split -b 70K --filter='zstd -q' tar >made",
    "tar -cf tar app; split -b 70K --filter='zstd -q -c --stream-size=0 2>/dev/null || zstd -q' tar >made",
    // As pzstd does it: a frame without content before each.
    "tar -cf tar app; split -b 700K --filter='printf \"\\120\\52\\115\\30\\4\\0\\0\\0pzst\"; zstd -q' tar >made",
];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("seq 400000 >app/large; truncate -s 4M app/zeros");
    sandbox
}

/// Adopts `made` as `a.tar.zst`, and does all that can be done with it.
fn check(sandbox: &Sandbox, how: &str) {
    sandbox.ok("rm -rf home out; mv made a.tar.zst");
    let adopted = sandbox.run("bk-adopt --json a.tar.zst");
    assert_eq!(
        (adopted.status, &*adopted.stderr),
        (0, ""),
        "{how}: {adopted:#?}"
    );
    assert_eq!(adopted.record()["compression_type"], "zstd", "{how}");
    assert_eq!(adopted.record()["backup_name"], "a", "{how}");
    let verified = sandbox.run("bk-verify --deep a");
    assert_eq!(
        (verified.status, &*verified.stderr),
        (0, ""),
        "{how}: {verified:#?}"
    );
    sandbox.ok("bk-restore -C out a && diff -r app out/app && rm -r out");
    sandbox.ok("bk-restore -C out --path app/large a && cmp app/large out/app/large && rm -r out");
    let listed = sandbox
        .ok("bk-ls --files a | wc -l; tar -tf tar | wc -l")
        .stdout;
    let (ours, theirs) = listed.trim().split_once('\n').unwrap();
    assert_eq!(ours, theirs, "{how}");
}

#[test]
fn whatever_zstd_writes_is_read() {
    if !has("zstd") {
        return;
    }
    let sandbox = sandbox();
    sandbox.ok("tar -cf tar app");
    for how in MAKERS.into_iter().step_by(stride(2)) {
        sandbox.ok(how);
        check(&sandbox, how);
    }
    if has("bsdtar") {
        sandbox.ok("bsdtar --zstd -cf made app");
        check(&sandbox, "bsdtar");
    }
}

/// The table of these frames; each entry has a checksum where the format has it.
pub(super) fn table(frames: &[(u32, u32)], has_checksums: bool) -> Vec<u8> {
    let mut entries = Vec::new();
    for (bytes, content_bytes) in frames {
        entries.extend_from_slice(&bytes.to_le_bytes());
        entries.extend_from_slice(&content_bytes.to_le_bytes());
        if has_checksums {
            entries.extend_from_slice(b"sums");
        }
    }
    let mut table = 0x184d_2a5e_u32.to_le_bytes().to_vec();
    table.extend_from_slice(&(entries.len() as u32 + 9).to_le_bytes());
    table.extend_from_slice(&entries);
    table.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    table.push(if has_checksums { 0x80 } else { 0 });
    table.extend_from_slice(&0x8f92_eab1_u32.to_le_bytes());
    table
}

/// The tar stream `tar` in frames of this much content, each as zstd writes it with these flags.
pub(super) fn frames(sandbox: &Sandbox, flags: &str, content_bytes: usize) -> Vec<(Vec<u8>, u32)> {
    sandbox.ok(&format!(
        "rm -f part*; split -a 4 -b {content_bytes} tar part; for it in part*; do zstd -q {flags} $it -o $it.zst; done"
    ));
    let mut names: Vec<_> = fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    names.retain(|it| {
        it.extension().is_some_and(|it| it == "zst") && it.to_string_lossy().contains("/part")
    });
    names.sort();
    let frame = |path: &std::path::PathBuf| {
        let content = fs::metadata(path.with_extension("")).unwrap().len() as u32;
        (fs::read(path).unwrap(), content)
    };
    names.iter().map(frame).collect()
}

#[test]
fn a_seekable_file_of_another_program_is_read() {
    if !has("zstd") {
        return;
    }
    let sandbox = sandbox();
    sandbox.ok("tar -cf tar app");
    for (flags, content_bytes) in [
        ("", 500_000),
        ("--no-content-size", 500_000),
        ("", 10_000_000),
    ] {
        let frames = frames(&sandbox, flags, content_bytes);
        let bytes: Vec<u8> = frames.iter().flat_map(|it| it.0.clone()).collect();
        let pairs: Vec<_> = frames.iter().map(|it| (it.0.len() as u32, it.1)).collect();
        for has_checksums in [false, true] {
            let made = [&bytes[..], &table(&pairs, has_checksums)].concat();
            fs::write(sandbox.path("made"), &made).unwrap();
            check(&sandbox, "seekable");
        }
    }
}

#[test]
fn bytes_after_the_last_frame_are_a_note() {
    if !has("zstd") {
        return;
    }
    let sandbox = sandbox();
    sandbox.ok("tar --zstd -cf a.tar.zst app; at=$(stat -c %s a.tar.zst); printf junk >>a.tar.zst; echo $at >at");
    let at = fs::read_to_string(sandbox.path("at")).unwrap();
    let ran = sandbox.ok("bk-adopt a.tar.zst");
    let told = format!(
        "bk-adopt: note: '{}': bytes that are no zstd frame follow the last one (at byte {} of the file); they are not read\n",
        sandbox.path("a.tar.zst").display(),
        at.trim()
    );
    assert_eq!(ran.stderr, told);
    sandbox.ok("bk-verify --deep a && bk-restore -C out a && diff -r app out/app");
}

#[test]
fn names_tell_and_the_content_decides() {
    if !has("zstd") {
        return;
    }
    let sandbox = sandbox();
    sandbox.ok("mkdir d; tar --zstd -cf d/one.tar.zst app; tar --zstd -cf d/two.tar.gz app; tar -czf d/three.tar.zst app; tar --zstd -cf four.tzst app; cp four.tzst d/no.zst; cp four.tzst d/no.tar.zst.partial");
    let ran = sandbox.ok("bk-adopt -r d four.tzst");
    let mut found: Vec<_> = ran.records();
    found.sort_by_key(|it| it["backup_name"].to_string());
    let told: Vec<_> = found
        .iter()
        .map(|it| format!("{} {}", it["backup_name"], it["compression_type"]))
        .collect();
    assert_eq!(
        told,
        [
            "\"four\" \"zstd\"",
            "\"one\" \"zstd\"",
            "\"three\" \"gzip\"",
            "\"two\" \"zstd\""
        ]
    );
}
