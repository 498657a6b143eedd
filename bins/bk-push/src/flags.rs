//! The flags of bk-push.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    SET = switch("set", "keep a location under a name: NAME URL; one that is there is replaced with all its flags");
    LIST = switch("list", "list the locations");
    UNSET = switch("unset", "forget locations; what is there stays there");
    LOST = switch("lost", "with --unset: what is known to be there is lost; forget that too");
    INIT = switch("init", "with --set: make the directory of the location where it is missing");
    ENDPOINT = option("endpoint", "URL", "with --set: the S3 server, where it is not Amazon's");
    REGION = option("region", "REGION", "with --set: the region of the bucket");
    CREDENTIALS = option(
        "credentials",
        "FILE",
        "read the credentials from FILE; with --set: always",
    );
    STORAGE_CLASS = option("storage-class", "CLASS", "with --set: what the store is to keep archives as");
    LOCK = option(
        "lock",
        "expires|SPAN",
        "with --set: nobody can remove a copy before the backup expires, or for SPAN",
    );
    LOCK_MODE = option(
        "lock-mode",
        "compliance|governance",
        "with --set: nobody at all (the default), or nobody without the right to",
    );
    RECIPIENT = option(
        "recipient",
        "KEY",
        "encrypt to the public KEY of age or ssh, or to several; with --set: always",
    );
    LIMIT_RATE = option("limit-rate", "SIZE", "send at most SIZE a second; with --set: always");
    CHECK = switch("check", "ask whether the copies are there as they should be");
    READ = option("read", "N%", "with --check: read N percent of them back");
    REMOVE = switch("remove", "remove copies of the given backups");
    GONE = switch("gone", "with --remove: the copies of all backups that are no longer in the catalog");
    DRY_RUN = switch("dry-run", "only print what would be copied").short('n');
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-push",
    summary: "copy archives to a second place",
    usage: "[--check | --remove] LOCATION [ID|NAME...]  or  bk-push --set NAME URL",
    operands: Operands::Backups,
    flags: FLAGS,
};
