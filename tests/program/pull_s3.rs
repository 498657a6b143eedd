//! bk-pull against a real S3 server: SeaweedFS on loopback.

use crate::support::proxy::Proxy;
use crate::support::seaweed::{ADMIN, PUT_ONLY, Seaweed};
use crate::support::{Sandbox, has};

#[test]
fn archives_and_files_of_them_come_from_a_server() {
    if !has("jq") {
        return;
    }
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("bucket", false);
    let line = Proxy::to(&server.endpoint());
    let sandbox = Sandbox::with_app();
    let environment = ADMIN.environment();
    sandbox.ok(&format!(
        "{environment} mkdir tree; head -c 34M /dev/urandom >tree/big; cp -r app tree; export BK_HOST=web
         bk-create --level 1 --name big tree; bk-create --name 'ü %41+?#&=' app
         bk-push --set --endpoint {} s3 s3://bucket/prefix; bk-ls | bk-push s3 >/dev/null; cp -a home/archives kept",
        line.endpoint()
    ));
    sandbox.ok("rm home/archives/*.tar.gz");
    let ran = sandbox.run(&format!("{environment} bk-ls --missing | bk-pull s3"));
    assert_eq!(
        (ran.status, &*ran.stderr, ran.records().len()),
        (0, "", 2),
        "{ran:#?}"
    );
    sandbox.ok("diff -r home/archives kept");

    let before = line.told_bytes();
    let ran = sandbox.run(&format!(
        "{environment} bk-pull --path tree/app/data -C out s3 big && diff -r app/data out/tree/app/data"
    ));
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:#?}");
    let read_bytes = ran.record()["pull"]["read_bytes"].as_u64().unwrap();
    assert!(read_bytes < 1 << 20, "{ran:#?}");
    let told_bytes = line.told_bytes() - before;
    let is_all = (read_bytes..read_bytes + 32_768).contains(&told_bytes);
    assert!(is_all, "{told_bytes} {ran:#?}");

    // Who may only write cannot read.
    sandbox.ok("rm home/archives/*.tar.gz");
    let ran = sandbox.run(&format!(
        "{} bk-ls --missing | bk-pull s3",
        PUT_ONLY.environment()
    ));
    assert_eq!((ran.status, &*ran.stdout), (1, ""), "{ran:#?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(
        lines[0].contains("cannot bring 'big' from 's3': access to "),
        "{ran:#?}"
    );
    assert_eq!(
        lines[1..],
        ["bk-pull: 1 more backup is not brought from 's3': mend that, and run it again"]
    );
    sandbox.ok("test $(ls home/archives | wc -l) = 0");
}
