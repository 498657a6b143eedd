//! The flags of bk-ls.

use bk_cli::{Flag, Operands, Program};

bk_cli::flags! {
    TYPE = Flag::new(
        "type",
        Some('t'),
        Some("manual|pre-upgrade|automatic"),
        "of this type, or one of these types",
    );
    STATUS = Flag::new(
        "status",
        Some('s'),
        Some("creating|completed|failed|moving|deleting"),
        "in this state, or one of these states",
    );
    AVAILABLE = Flag::new("available", None, None, "completed, and its archive exists");
    MISSING = Flag::new("missing", None, None, "completed, but its archive is missing");
    OFFLINE = Flag::new("offline", None, None, "completed, but its storage is not mounted");
    EXPIRED = Flag::new("expired", None, None, "past its expiry");
    EXPIRES_WITHIN = Flag::new("expires-within", None, Some("SPAN"), "that expires within SPAN from now");
    SINCE = Flag::new("since", None, Some("TIME"), "created at TIME (a date, 30d) or later");
    UNTIL = Flag::new("until", None, Some("TIME"), "created before TIME");
    NAME = Flag::new("name", Some('n'), Some("GLOB"), "whose name matches");
    HOST = Flag::new("host", None, Some("NAME"), "made on this host");
    SOURCE_VERSION = Flag::new("source-version", None, Some("VERSION"), "of this version");
    PROTECTED = Flag::new("protected", None, None, "protected from removal");
    LARGER = Flag::new("larger", None, Some("SIZE"), "whose archive is larger than SIZE");
    UNVERIFIED_FOR = Flag::new("unverified-for", None, Some("SPAN"), "completed, and not verified for SPAN");
    LATEST = Flag::new("latest", None, None, "only the newest completed one");
    EACH_TYPE = Flag::new("each-type", None, None, "with --latest: the newest of each type");
    SORT = Flag::new(
        "sort",
        None,
        Some("id|name|type|status|version|created|expires|size|files"),
        "sort by this key (created)",
    );
    REVERSE = Flag::new("reverse", Some('r'), None, "reverse the order");
    FORCE_CLOCK = Flag::new(
        "force-clock",
        None,
        None,
        "list expired and old backups even if the clock has jumped",
    );
    LIMIT = Flag::new("limit", None, Some("N"), "at most the first N");
    LONG = Flag::new("long", Some('l'), None, "show each in full, one field per line");
    FILES = Flag::new("files", None, None, "list the files inside");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-ls",
    summary: "list backups and what is inside them",
    usage: "[flags] [ID|NAME...]  or  bk-ls [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
