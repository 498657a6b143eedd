//! bk-pick on a real terminal: what it shows, what keys do, what it writes. How it ends is in
//! pick_ends.rs.

use crate::support::tmux::Tmux;
use crate::support::{Sandbox, has};
use regex::Regex;

/// Three backups, 1 to 3 days old.
fn three() -> Sandbox {
    let sandbox = Sandbox::with_app();
    sandbox.ok("bk-create --name plain app; bk-create --name before -t pre-upgrade --source-version 2.3.1 --protect app
        bk-create --name nightly -t automatic -d $'every\\nnight\\e[2J' app; bk-verify plain");
    sandbox.sql("UPDATE backup_records SET created_at = created_at - (4 - id) * INTERVAL 25 HOUR");
    sandbox
}

/// What was written, as names.
fn chosen(sandbox: &Sandbox) -> Vec<String> {
    let names = sandbox.ok("jq -r .backup_name out").stdout;
    names.lines().map(str::to_owned).collect()
}

/// Without what differs from one run to the next.
fn steady(screen: &[String]) -> Vec<String> {
    let patterns = [
        (r"\d{4}-\d\d-\d\d", "YYYY-MM-DD"),
        (r" \d\d:\d\d ", " HH:MM "),
        (r"ok \d+[sm]", "ok 1m"),
        (r"[\d.]+ KiB", "39.2 KiB"),
        (r"/tmp/…./app", "/tmp/…X/app"),
        (r"/tmp…app", "/srv/app"),
    ];
    let mut steady = screen.to_vec();
    for (pattern, with) in patterns {
        let pattern = Regex::new(pattern).unwrap();
        for line in &mut steady {
            *line = pattern.replace_all(line, with).into_owned();
        }
    }
    steady
}

#[test]
fn the_list_is_shown_newest_first_and_fits_80_by_24() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("bk-pick --header 'Restore which?' >out; echo ended $?");
    let screen = steady(&tmux.wait("3 of 3"));
    let mut expected = vec![
        "Restore which?",
        "Find:",
        "  DATE       AGE TYPE            SIZE STATUS    PROT CHECKED SOURCE      NAME",
        "> YYYY-MM-DD 25h automatic   39.2 KiB available -    -       /tmp/…X/app nightly",
        "  YYYY-MM-DD  2d pre-upgrade 39.2 KiB available yes  -       /tmp/…X/app before",
        "  YYYY-MM-DD  3d manual      39.2 KiB available -    ok 1m   /tmp/…X/app plain",
    ];
    expected.resize(22, "");
    expected.push(r"YYYY-MM-DD HH:MM nightly: every\nnight\u{1b}[2J");
    expected.push("3 of 3 | Enter: choose, Space: mark, Tab: look, Esc: leave, ?: keys");
    assert_eq!(screen, expected);
    tmux.press(&["Enter"]);
    tmux.wait("ended 0");
    assert_eq!(
        sandbox.ok("cat out").stdout,
        sandbox.ok("bk-ls nightly").stdout
    );
}

#[test]
fn typing_narrows_and_keys_move() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("clear; bk-pick >out; echo ended $?");
    tmux.wait("3 of 3");
    let at_cursor = |what: &str| {
        tmux.wait_until(what, |screen| {
            screen
                .iter()
                .any(|line| line.starts_with('>') && line.contains(what))
        });
    };
    for (key, name) in [
        ("Down", "before"),
        ("C-n", "plain"),
        ("Down", "plain"),
        ("Up", "before"),
        ("C-p", "nightly"),
        ("End", "plain"),
        ("Home", "nightly"),
        ("NPage", "plain"),
        ("PPage", "nightly"),
    ] {
        tmux.press(&[key]);
        at_cursor(name);
    }
    for (typed, count, name) in [
        ("nte", "0 of 3", ""),
        ("ngt", "1 of 3", "nightly"),
        ("upg,231", "1 of 3", "before"),
        // A source.
        ("/app", "3 of 3", "nightly"),
        ("EVERY", "0 of 3", ""),
    ] {
        tmux.type_text(typed);
        tmux.wait(&format!("Find: {typed}"));
        tmux.wait(count);
        if !name.is_empty() {
            at_cursor(name);
        }
        tmux.press(&["C-u"]);
        tmux.wait("3 of 3");
    }
    tmux.type_text("beforex");
    tmux.wait("0 of 3");
    tmux.press(&["Enter"]);
    tmux.press(&["BSpace"]);
    at_cursor("before");
    tmux.press(&["Enter"]);
    tmux.wait("ended 0");
    assert_eq!(chosen(&sandbox), ["before"]);
}

#[test]
fn what_is_marked_is_written_with_the_keys_of_its_line() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    if !has("jq") {
        return;
    }
    tmux.run("bk-ls | jq -c '{id, ticket: (.id * 11)}' | bk-pick >out; echo ended $?");
    tmux.wait("3 of 3");
    tmux.press(&["End", "Space", "Up", "Up", "Space"]);
    tmux.wait("2 marked | Enter: choose 2");
    tmux.type_text("plain");
    tmux.wait("2 marked (1 hidden)");
    tmux.press(&["Enter"]);
    tmux.wait("ended 0");
    assert_eq!(chosen(&sandbox), ["nightly", "plain"]);
    let keys = sandbox.ok("jq -c '[.file_status, .ticket]' out").stdout;
    assert_eq!(keys, "[\"available\",33]\n[\"available\",11]\n");
}

#[test]
fn a_record_and_what_is_inside_are_shown_on_demand() {
    let sandbox = three();
    sandbox.ok(
        "mkdir many; cd many; touch $(seq -f 'file-%04.0f' 3000); bk-create --name many ../many",
    );
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("clear; bk-pick >out; echo ended $?");
    tmux.wait("4 of 4");
    tmux.press(&["Tab"]);
    let screen = tmux.wait("Record of many");
    let in_full = sandbox.ok("bk-ls -l --table many").stdout;
    // As far as the screen goes.
    for line in in_full.lines().take(20).filter(|line| line.len() < 80) {
        assert!(screen.iter().any(|it| it == line), "{line}: {screen:#?}");
    }
    tmux.press(&["Tab"]);
    let screen = tmux.wait("3001 of 3001 | ");
    assert!(
        screen[3].ends_with(" many/") && screen[4].ends_with(" many/file-0001"),
        "{screen:#?}"
    );
    tmux.press(&["End"]);
    let screen = tmux.wait("file-3000");
    assert!(
        screen[21].ends_with(" many/file-3000") && screen[22] == "many/file-3000",
        "{screen:#?}"
    );
    tmux.press(&["Escape"]);
    tmux.wait("Record of many");
    tmux.press(&["Escape"]);
    tmux.wait("Find:");
    std::fs::remove_file(sandbox.archive("nightly")).unwrap();
    tmux.press(&["Down", "Tab", "Right"]);
    tmux.wait("bk-ls: cannot list the files of 'nightly': its archive '/");
    tmux.press(&["Tab", "Escape"]);
    tmux.wait("ended 130");
    assert_eq!(sandbox.ok("cat out").stdout, "");
}

#[test]
fn what_is_inside_is_read_without_holding_up_the_keys() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    // A bk-ls that never ends, beside a bk-pick of its own.
    let programs = crate::support::programs();
    let line = r#"{"path":"one name","type":"file","size":1,"mtime":null}"#;
    sandbox.write(
        "slow/bk-ls",
        &format!("#!/bin/sh\necho '{line}'\nexec sleep 1000\n"),
    );
    sandbox.ok(&format!(
        "cp {0}/bk-pick slow; ln -s {0}/../libduckdb .
         chmod +x slow/bk-ls",
        programs.display()
    ));
    tmux.run("slow/bk-pick >out; echo ended $?");
    tmux.wait("3 of 3");
    tmux.press(&["Tab", "Tab"]);
    tmux.wait("one name");
    tmux.wait("1 of 1 so far ...");
    tmux.press(&["Escape"]);
    tmux.wait("Record of nightly");
    tmux.press(&["Right"]);
    tmux.wait("1 of 1 so far ...");
    tmux.press(&["C-c"]);
    tmux.wait("ended 130");
    // Neither run is left.
    let is_of_here = format!(
        "for pid in $(pgrep -x sleep); do readlink /proc/$pid/cwd; done | grep -cx '{}'",
        sandbox.path("").display().to_string().trim_end_matches('/')
    );
    assert_eq!(sandbox.run(&is_of_here).stdout, "0\n");
}

#[test]
fn the_chosen_one_is_restored() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    let status = "; echo ended ${PIPESTATUS[*]}";
    // Names in an archive are those that were given: here app/...
    tmux.run(&format!(
        "bk-pick --one | bk-restore -C trial >restored{status}"
    ));
    tmux.wait("3 of 3 | Enter: choose, Tab: look");
    tmux.press(&["Down", "Space", "Enter"]);
    tmux.wait("ended 0 0");
    sandbox.ok("diff -r app trial/app");
    assert_eq!(sandbox.ok("jq .id restored").stdout, "2\n");

    sandbox.ok("echo broken >app/config.toml");
    tmux.run(&format!(
        "clear; bk-pick --one | bk-restore --to-source >restored{status}"
    ));
    tmux.wait("3 of 3");
    tmux.type_text("plain");
    tmux.wait("1 of 3");
    tmux.press(&["Enter"]);
    tmux.wait("ended 0 0");
    assert_eq!(
        sandbox
            .ok("cat app/config.toml; cat app.before-1/config.toml")
            .stdout,
        "port = 8080\nbroken\n"
    );

    // Of a backup of one directory: that directory, in exchange for another.
    tmux.run(&format!(
        "clear; bk-pick --one | bk-restore -C app --swap --strip-components 1 >restored{status}"
    ));
    tmux.wait("3 of 3");
    tmux.press(&["Enter"]);
    tmux.wait("ended 0 0");
    assert_eq!(
        sandbox.ok("ls -d app*; ls app").stdout,
        "app\napp.before-1\napp.before-3\ncache\nconfig.toml\ndata\nlog\n"
    );

    tmux.run(&format!(
        "clear; bk-pick --one | bk-restore --to-source{status}"
    ));
    tmux.wait("3 of 3");
    tmux.press(&["Escape"]);
    tmux.wait("ended 130 0");
}

#[test]
fn people_get_what_they_chose_as_a_table() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 100, 24) else {
        return;
    };
    tmux.run("bk-pick before plain");
    tmux.wait("2 of 2");
    tmux.press(&["Enter"]);
    let screen = tmux.wait("ID  TYPE");
    assert!(
        screen[2].starts_with(" 2  pre-upgrade") && screen[2].ends_with("/app  before"),
        "{screen:#?}"
    );
}

#[test]
fn all_that_is_available_is_offered_and_what_is_given_in_any_state() {
    let sandbox = three();
    sandbox.ok("rm home/archives/before.tar.gz");
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("clear; bk-pick >out; echo ended $?");
    tmux.wait("2 of 2");
    tmux.press(&["C-c"]);
    tmux.wait("ended 130");
    tmux.run("clear; (bk-ls; bk-ls) | bk-pick - >out; echo ended $?");
    let screen = tmux.wait("3 of 3");
    assert!(screen[3].contains(" missing "), "{screen:#?}");
    assert!(
        tmux.painted().contains("\u{1b}[38;5;1mmissing"),
        "{}",
        tmux.painted()
    );
    tmux.press(&["Escape"]);
    tmux.wait("ended 130");
    tmux.run("clear; bk-ls | NO_COLOR=1 bk-pick >out");
    tmux.wait("3 of 3");
    assert!(!tmux.painted().contains("\u{1b}[38;"), "{}", tmux.painted());
    assert!(tmux.painted().contains(";7m"), "{}", tmux.painted());
}

#[test]
fn the_catalog_is_free_while_the_list_is_shown() {
    let sandbox = three();
    let Some(tmux) = Tmux::new(&sandbox, 80, 24) else {
        return;
    };
    tmux.run("clear; bk-pick >out; echo ended $?");
    tmux.wait("3 of 3");
    sandbox.ok("bk-create --lock-timeout 1s --name more app; bk-rm --lock-timeout 1s plain");
    tmux.press(&["End", "Enter"]);
    tmux.wait("ended 0");
    assert_eq!(chosen(&sandbox), ["plain"]);
    let gone = sandbox.run("bk-rm plain").stderr;
    assert!(gone.contains(" is gone: bk-rm removed it at "), "{gone}");
    sandbox.run("bk-rm <out").fails(1, &gone);
}

/// The times are printed with --nocapture, beside that of the query alone.
#[test]
#[ignore = "half a minute: make test-long"]
fn a_hundred_thousand_are_shown_and_narrowed_at_once() {
    let sandbox = three();
    sandbox.sql(&format!(
        "INSERT INTO backup_records SELECT id, 'service-' || id, 'automatic', 'completed', '1.' || id, '{}',
             5, 1, 'gzip', sha256(id::VARCHAR), 'taken every night by the timer', '{{\"host\":\"test\"}}', false,
             TIMESTAMP '2020-01-01' + id * INTERVAL 20 MINUTE, NULL
         FROM (SELECT nextval('backup_id') AS id FROM range(100000))",
        sandbox.archive("plain").display()
    ));
    let Some(tmux) = Tmux::new(&sandbox, 120, 40) else {
        return;
    };
    tmux.run("clear; bk-pick >out; echo ended $?");
    tmux.wait("100003 of 100003");
    for (typed, count) in [
        ("s", "Find: s"),
        ("ervice-99", "Find: service-99"),
        (",1.99", "Find: service-99,1.99"),
    ] {
        tmux.type_text(typed);
        tmux.wait(count);
    }
    tmux.press(&["C-u"]);
    tmux.wait("100003 of 100003");
    tmux.press(&["End", "Space", "Enter"]);
    tmux.wait("ended 0");
    assert_eq!(chosen(&sandbox), ["service-4"]);
}

#[test]
fn the_picture_in_the_readme_is_what_it_shows() {
    let sandbox = Sandbox::with_app();
    sandbox.ok("for n in moved-to-new-disk app-6 app-5 app-4 app-3 app-2 before-2.4; do bk-create --name $n app; done");
    let verified = |hours: u32, ok: bool| {
        format!(
            "backup_metadata = json_merge_patch(backup_metadata, '{{\"last_verified\":{{\"at\":\"' || strftime(now()::TIMESTAMP - INTERVAL {hours} HOUR, '%Y-%m-%dT%H:%M:%SZ') || '\",\"level\":\"sha256\",\"ok\":{ok}}}}}')"
        )
    };
    sandbox.sql(&format!(
        "UPDATE backup_records SET created_at = now()::TIMESTAMP - (id * 24 - 21) * INTERVAL 1 HOUR - INTERVAL 5 MINUTE,
             backup_type = 'automatic', source_version = '2.4.0',
             backup_metadata = json_merge_patch(backup_metadata, CASE WHEN id BETWEEN 2 AND 6 THEN '{{\"job\":\"nightly\"}}' ELSE '{{}}' END),
             backup_size = 1234567890 - id * 9876543;
         UPDATE backup_records SET backup_type = 'manual', description = 'before the array was replaced' WHERE id = 1;
         UPDATE backup_records SET backup_type = 'pre-upgrade', source_version = '2.3.1', protected = true WHERE id = 7;
         UPDATE backup_records SET {} WHERE id IN (2, 3, 4, 7);
         UPDATE backup_records SET {} WHERE id = 5;",
        verified(10, true),
        verified(200, false)
    ));
    let Some(tmux) = Tmux::new(&sandbox, 80, 14) else {
        return;
    };
    tmux.run("bk-pick --header 'Which are to go to the other disk?' | bk-mv other");
    tmux.wait("7 of 7");
    tmux.press(&["End", "Up", "Up", "Space", "Space"]);
    let screen = tmux.wait("2 marked");
    let readme = std::fs::read_to_string(crate::support::checkout().join("README.md")).unwrap();
    let picture: Vec<_> = readme
        .lines()
        .skip_while(|line| !line.ends_with("Which are to go to the other disk?"))
        .take(screen.len())
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned())
        .collect();
    assert_eq!(steady(&picture), steady(&screen), "{}", screen.join("\n"));
}
