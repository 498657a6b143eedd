//! The flags of bk-ls.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    TYPE = Flag::option(
        "type",
        "manual|pre-upgrade|automatic",
        "of this type, or one of these types",
    )
    .short('t');
    STATUS = Flag::option(
        "status",
        "creating|completed|failed|moving|deleting",
        "in this state, or one of these states",
    )
    .short('s');
    AVAILABLE = Flag::switch("available", "completed, and its archive exists");
    MISSING = Flag::switch("missing", "completed, but its archive is missing");
    OFFLINE = Flag::switch("offline", "completed, but its storage is not mounted");
    EXPIRED = Flag::switch("expired", "past its expiry");
    EXPIRES_WITHIN = Flag::option("expires-within", "SPAN", "that expires within SPAN from now");
    SINCE = Flag::option("since", "TIME", "created at TIME (a date, 30d) or later");
    UNTIL = Flag::option("until", "TIME", "created before TIME");
    NAME = Flag::option("name", "GLOB", "whose name matches").short('n');
    HOST = Flag::option("host", "NAME", "made on this host");
    SOURCE_VERSION = Flag::option("source-version", "VERSION", "of this version");
    PROTECTED = Flag::switch("protected", "protected from removal");
    LARGER = Flag::option("larger", "SIZE", "whose archive is larger than SIZE");
    UNVERIFIED_FOR = Flag::option("unverified-for", "SPAN", "completed, and not verified for SPAN");
    LATEST = Flag::switch("latest", "only the newest completed one");
    EACH_TYPE = Flag::switch("each-type", "with --latest: the newest of each type");
    SORT = Flag::option(
        "sort",
        "id|name|type|status|version|created|expires|size|files",
        "sort by this key (created)",
    );
    REVERSE = Flag::switch("reverse", "reverse the order").short('r');
    FORCE_CLOCK =
        Flag::switch("force-clock", "list expired and old backups even if the clock has jumped");
    LIMIT = Flag::option("limit", "N", "at most the first N");
    LONG = Flag::switch("long", "show each in full, one field per line").short('l');
    FILES = Flag::switch("files", "list the files inside");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-ls",
    summary: "list backups and what is inside them",
    usage: "[flags] [ID|NAME...]  or  bk-ls [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
