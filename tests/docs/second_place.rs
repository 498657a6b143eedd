//! The section of bk(7) about a second place, run as it stands against a real server, on two machines.

use std::fs;

use crate::docs::man::commands;
use crate::support::seaweed::{ADMIN, Keys, PUT_ONLY, Seaweed};
use crate::support::{Sandbox, checkout, has};

fn credentials(sandbox: &Sandbox, file: &str, keys: Keys) {
    let Keys { id, secret } = keys;
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    sandbox.write(file, &text);
    sandbox.ok(&format!("chmod 600 {file}"));
}

#[test]
fn a_lost_machine_comes_back_from_the_second_place() {
    if !has("age") || !has("jq") {
        return;
    }
    let Some(server) = Seaweed::start() else {
        return;
    };
    server.make_bucket("example-backups", true);
    let sandbox = Sandbox::with_app();
    credentials(&sandbox, "offsite.put", PUT_ONLY);
    credentials(&sandbox, "offsite.read", ADMIN);
    sandbox.ok("mkdir elsewhere; export BK_HOST=web; bk-create --name first app; bk-create --name second app");
    let page = fs::read_to_string(checkout().join("man/bk.7")).unwrap();
    let commands = commands(&page, "A SECOND PLACE");
    assert!(commands.len() > 12, "{commands:?}");
    let lines = commands.join("\n");
    let endpoint = format!("--endpoint {}", server.endpoint());
    let lines = lines.replace("--region eu-central-1", &endpoint);
    let lines = lines.replace("\nexport BK_HOME", "\nrm -r home\nexport BK_HOME");
    let ran = sandbox.run(&format!("set -euo pipefail; export HOME=$PWD\n{lines}"));
    // What age-keygen says, and no word of ours.
    let told: Vec<_> = ran.stderr.lines().collect();
    let is_key_alone = told.len() == 1 && told[0].starts_with("Public key: age1");
    assert!(ran.status == 0 && is_key_alone, "{ran:#?}");
    // The archives are where their records say that they are, which is where they were.
    let told = sandbox.ok(
        "cmp first/files/app/config.toml app/config.toml; diff -r first/all/app app
         export BK_HOME=$PWD/new-machine; bk-ls --available | wc -l; bk-ls --remote | wc -l",
    );
    assert_eq!(told.stdout, "2\n0\n");
}
