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
    AVAILABLE = Flag::new("available", None, None, "completed, and the archive is there");
    MISSING = Flag::new("missing", None, None, "completed, but the archive is not there");
    OFFLINE = Flag::new("offline", None, None, "completed, but its storage is not there");
    EXPIRED = Flag::new("expired", None, None, "whose time is over");
    EXPIRES_WITHIN = Flag::new("expires-within", None, Some("SPAN"), "whose time ends within SPAN from now");
    SINCE = Flag::new("since", None, Some("TIME"), "created at TIME (a date, 30d) or later");
    UNTIL = Flag::new("until", None, Some("TIME"), "created before TIME");
    NAME = Flag::new("name", Some('n'), Some("GLOB"), "whose name matches");
    HOST = Flag::new("host", None, Some("NAME"), "made on this host");
    SOURCE_VERSION = Flag::new("source-version", None, Some("VERSION"), "of this version");
    PROTECTED = Flag::new("protected", None, None, "protected from removal");
    LARGER = Flag::new("larger", None, Some("SIZE"), "whose archive is larger than SIZE");
    UNVERIFIED_FOR = Flag::new(
        "unverified-for",
        None,
        Some("SPAN"),
        "completed, and not proved whole for SPAN",
    );
    LATEST = Flag::new("latest", None, None, "only the newest completed one");
    EACH_TYPE = Flag::new("each-type", None, None, "with --latest: the newest of each type");
    SORT = Flag::new(
        "sort",
        None,
        Some("id|name|type|status|version|created|expires|size|files"),
        "in this order (created)",
    );
    REVERSE = Flag::new("reverse", Some('r'), None, "in the opposite order");
    FORCE_CLOCK = Flag::new(
        "force-clock",
        None,
        None,
        "list what is expired or old though the clock seems to have jumped",
    );
    LIMIT = Flag::new("limit", None, Some("N"), "at most the first N");
    LONG = Flag::new("long", Some('l'), None, "show each in full, a field a line");
    FILES = Flag::new("files", None, None, "list what is inside");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-ls",
    summary: "list backups and what is inside them",
    usage: "[flags] [ID|NAME...]  or  bk-ls [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
