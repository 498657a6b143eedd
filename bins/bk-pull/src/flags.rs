//! The flags of bk-pull.

use bk_cli::{Operands, Program, option, switch};

bk_cli::flags! {
    DIRECTORY = option("directory", "DIR", "bring archives, or the files of --path, into DIR").short('C');
    PATH = option("path", "GLOB", "bring back only what matches, and what is below");
    STDOUT = switch("stdout", "with --path: print one file, and nothing else");
    IDENTITY = option("identity", "FILE", "decrypt with the keys in FILE");
    LIST = switch("list", "list the records that the location holds");
    HOST = option("host", "HOST", "with --list and --adopt: those of HOST instead of this one's");
    ALL_HOSTS = switch("all-hosts", "with --list: those of all hosts");
    OLDER_THAN = option("older-than", "SPAN", "with --list: only the newest of each host and job, where it is older");
    REBUILD = switch("rebuild", "with --list: read each record, and write the lists of the hosts anew");
    ADOPT = switch("adopt", "record what the location holds in the catalog; bring nothing");
    CREDENTIALS = option("credentials", "FILE", "read the credentials from FILE");
    DRY_RUN = switch("dry-run", "only print what would be done").short('n');
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-pull",
    summary: "bring archives back from a second place",
    usage: "[--list | --adopt] LOCATION [ID|NAME...]",
    operands: Operands::Backups,
    flags: FLAGS,
};
