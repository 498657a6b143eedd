//! Which backups are asked for: filters that several programs have, and the name `latest`.

use crate::support::{Ran, Sandbox};

fn names(ran: &Ran) -> Vec<String> {
    let name = |it: &serde_json::Value| it["backup_name"].as_str().unwrap().to_owned();
    ran.records().iter().map(name).collect()
}

/// Backups of `app`, of a part of it and of another tree, with metadata.
fn some() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("mkdir -p application; echo x >application/x
         bk-create --name app -m team=web -m weight=3 app; bk-create --name data -m team=db app/data
         bk-create --name other -m weight='\"3\"' application; bk-create --name both app/log application/
         bk-auto --set nightly -s @daily -- $PWD/app; bk-auto --set hourly -s @hourly -- $PWD/application
         bk-auto --now nightly; bk-auto --now hourly; bk-create --name last app/cache");
    sandbox
}

#[test]
fn backups_are_chosen_by_source_job_and_metadata() {
    let sandbox = some();
    let job = |name: &str| {
        let ran = sandbox.ok(&format!("bk-ls --job {name}"));
        names(&ran).join(" ")
    };
    let (nightly, hourly) = (job("nightly"), job("hourly"));
    assert!(nightly != hourly && !nightly.is_empty() && !hourly.is_empty());
    for (typed, expected) in [
        ("--source app", format!("app data both {nightly} last")),
        ("--source $PWD/app/data/", "data".to_owned()),
        (
            "--source .",
            format!("app data other both {nightly} {hourly} last"),
        ),
        ("--source app/config", String::new()),
        ("--source app/../app/data", "data".to_owned()),
        ("--job none", String::new()),
        ("--metadata team", "app data".to_owned()),
        ("--metadata team=db", "data".to_owned()),
        ("--metadata team --metadata weight", "app".to_owned()),
        ("--metadata weight=3", "app".to_owned()),
        ("--metadata 'weight=\"3\"'", "other".to_owned()),
        ("--metadata job=nightly", nightly.clone()),
    ] {
        let ran = sandbox.ok(&format!("bk-ls {typed}"));
        assert_eq!(names(&ran).join(" "), expected, "{typed}");
    }
    let found = sandbox.ok("bk-find --metadata team=db orders.db");
    assert_eq!(names(&found), ["data"]);
}

#[test]
fn backups_are_chosen_by_an_expression() {
    let sandbox = some();
    for (typed, expected) in [
        ("backup_name LIKE '%a%' AND id < 3", "app data"),
        ("file_count = 1 AND id < 5 -- one", "other"),
        ("backup_metadata->>'team' = 'db'", "data"),
        ("backup_name IN ('app', 'last')", "app last"),
        ("CASE WHEN protected THEN true ELSE id = 1 END", "app"),
        ("list_contains([1, 2], id)", "app data"),
        ("NULL", ""),
    ] {
        let ran = sandbox.ok(&format!("bk-ls --where \"$(cat <<'END'\n{typed}\nEND\n)\""));
        assert_eq!(names(&ran).join(" "), expected, "{typed}");
    }
    for (typed, told) in [
        (
            "nothing = 1",
            "Binder Error: Referenced column \"nothing\" not found",
        ),
        ("id = ", "syntax error"),
        ("", "syntax error"),
        ("id = 'x'", "Conversion Error"),
        ("1), (2", "it is more than one expression"),
        (
            "true); DROP TABLE settings; SELECT (1",
            "Only SELECT statements",
        ),
        ("true) UNION SELECT (1", "it is more than one expression"),
        (
            "true) FROM settings WHERE (true",
            "it is more than one expression",
        ),
        ("1) ORDER BY (1", "it is more than one expression"),
        ("1) GROUP BY (1", "it is more than one expression"),
        ("(SELECT true)", "it has a query in it"),
        (
            "JSON_serialize_plan('FROM x') IS NULL",
            "it has a query in it",
        ),
        (
            "EXISTS (FROM read_text('/etc/passwd'))",
            "it has a query in it",
        ),
        ("[x FOR x IN (SELECT [true])][1]", "it has a query in it"),
    ] {
        let ran = sandbox.run(&format!("bk-ls --where \"$(cat <<'END'\n{typed}\nEND\n)\""));
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{typed}: {ran:#?}");
        assert!(
            ran.stderr.starts_with("bk-ls: --where: ") && ran.stderr.contains(told),
            "{typed}: {ran:#?}"
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{typed}: {ran:#?}");
    }
    assert_eq!(names(&sandbox.ok("bk-ls")).len(), 7);
}

/// Times are in UTC, wherever the user is; and a source that is no text is compared by its bytes.
#[test]
fn an_expression_knows_no_zone_and_a_source_may_be_any_bytes() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name a app; mkdir $'n\\xff'; bk-create --name b $'n\\xff'");
    for zone in ["UTC", "Asia/Tokyo", "America/Los_Angeles"] {
        let ran = sandbox.ok(&format!(
            "export TZ={zone}; bk-ls --where 'created_at < now() - interval 20 minutes'
             bk-ls --where 'created_at > now() + interval 20 minutes'
             bk-ls --where \"created_at > now() - interval 20 minutes AND backup_name = 'a'\""
        ));
        assert_eq!(names(&ran), ["a"], "{zone}");
    }
    let ran = sandbox.ok("bk-ls --source $'n\\xff'; bk-ls --source $'n\\xef\\xbf\\xbd'");
    assert_eq!(names(&ran), ["b"]);
}

#[test]
fn latest_is_the_newest_completed_backup_and_that_of_a_job() {
    let sandbox = some();
    let latest = |typed: &str| names(&sandbox.ok(&format!("bk-ls {typed}"))).join(" ");
    assert_eq!(latest("latest"), "last");
    assert_eq!(latest("latest:nightly"), latest("--job nightly"));
    assert_eq!(latest("latest:hourly"), latest("--job hourly"));
    sandbox
        .run("bk-ls latest:none")
        .fails(1, "bk-ls: there is no backup 'latest:none'\n");
    sandbox.run("bk-create --name bad --reserve 900T --on-low-space fail app");
    assert_eq!(names(&sandbox.ok("bk-verify latest")), ["last"]);
    sandbox.run("bk-rm latest").fails(
        1,
        "bk-rm: cannot remove 'latest': that is 'last' now: give its name or its id\n",
    );
    sandbox.ok("bk-rm last");
    assert_eq!(latest("latest"), latest("--job hourly"));
    sandbox.ok("bk-restore -C out latest && test -e out/tmp/*/application/x");
    let ran = sandbox.ok(
        "bk-create --parent latest --name again app; bk-create --parent latest:nightly --name nth $PWD/app",
    );
    let parent = |at: usize| ran.records()[at]["backup_metadata"]["parent"].clone();
    assert_eq!(
        (parent(0), parent(1)),
        ("app".into(), latest("--job nightly").into())
    );
    sandbox.ok("bk-rm again nth");
    sandbox
        .run("bk-restore --stdout app/config.toml </dev/null")
        .fails(2, "bk-restore: no backup given for --stdout\n");
    sandbox.run("bk-create --name latest:x app").fails(
        2,
        "bk-create: --name: the name 'latest:x' stands for the newest backup\n",
    );
    // One that is named so, as others may name theirs, is meant.
    sandbox.ok(
        "tar czf latest.tar.gz app/log && bk-adopt latest.tar.gz && bk-create --name newer app/log",
    );
    assert_eq!(latest("latest"), "latest");
    sandbox.ok("bk-rm latest");
    let empty = Sandbox::with_app();
    empty.ok("bk-create --name a app; bk-rm a");
    empty
        .run("bk-ls latest")
        .fails(1, "bk-ls: there is no backup 'latest'\n");
}
