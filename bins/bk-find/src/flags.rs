//! The flags of bk-find.

use bk_cli::{Operands, Program, option, selection, switch};

bk_cli::flags! {
    IGNORE_CASE = switch("ignore-case", "compare without regard to upper and lower case").short('i');
    REGEX = switch("regex", "a PATTERN is a regular expression for the whole name");
    TYPE = option("type", "f|d|l|h|p|c|b", "of this type, or one of these: f,d").short('t');
    LARGER = option("larger", "SIZE", "files larger than SIZE");
    SMALLER = option("smaller", "SIZE", "files smaller than SIZE");
    NEWER = option("newer", "TIME", "changed at TIME (a date, 30d) or later");
    OLDER = option("older", "TIME", "changed before TIME");
    OWNER = option("owner", "USER", "of this user, by name or number");
    BACKUP_TYPE = option("backup-type", selection::TYPES, "backups of this type, or one of these types");
    SINCE = selection::SINCE;
    UNTIL = selection::UNTIL;
    NAME = selection::NAME;
    HOST = selection::HOST;
    SOURCE_VERSION = selection::SOURCE_VERSION;
    SOURCE = selection::SOURCE;
    JOB = selection::JOB;
    METADATA = selection::METADATA;
    WHERE = selection::WHERE;
    LATEST = selection::LATEST;
    EACH_TYPE = selection::EACH_TYPE;
    VERSIONS = switch("versions", "each version of a file once, with the backups that have it");
    GONE = switch("gone", "only what the newest backup of the same sources no longer has");
    NO_INDEX = switch("no-index", "leave out backups whose archive would have to be read");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-find",
    summary: "find files in all backups",
    usage: "[flags] PATTERN...  or  bk-find [flags] - PATTERN... <RECORDS",
    operands: Operands::Paths,
    flags: FLAGS,
};
