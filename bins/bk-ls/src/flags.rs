//! The flags of bk-ls.

use bk_cli::{Operands, Program, option, selection, switch};

bk_cli::flags! {
    TYPE = option(
        "type",
        selection::TYPES,
        "of this type, or one of these types",
    )
    .short('t');
    STATUS = option(
        "status",
        "creating|completed|failed|moving|deleting",
        "in this state, or one of these states",
    )
    .short('s');
    AVAILABLE = switch("available", "completed, and its archive exists");
    MISSING = switch("missing", "completed, but its archive is missing");
    OFFLINE = switch("offline", "completed, but its storage is not mounted");
    REMOTE = switch("remote", "completed, and its archive is at a location alone");
    EXPIRED = switch("expired", "past its expiry");
    EXPIRES_WITHIN = option("expires-within", "SPAN", "that expires within SPAN from now");
    SINCE = selection::SINCE;
    UNTIL = selection::UNTIL;
    NAME = selection::NAME;
    HOST = selection::HOST;
    SOURCE_VERSION = selection::SOURCE_VERSION;
    SOURCE = selection::SOURCE;
    JOB = selection::JOB;
    METADATA = selection::METADATA;
    WHERE = selection::WHERE;
    PROTECTED = switch("protected", "protected from removal");
    LARGER = option("larger", "SIZE", "whose archive is larger than SIZE");
    UNVERIFIED_FOR = option("unverified-for", "SPAN", "completed, and not verified for SPAN");
    WITH_COPY = option("with-copy", "LOCATION", "with a complete copy there");
    WITHOUT_COPY = option("without-copy", "LOCATION", "completed, and without a complete copy there");
    LATEST = selection::LATEST;
    EACH_TYPE = selection::EACH_TYPE;
    SORT = option(
        "sort",
        "id|name|type|status|version|created|expires|size|files",
        "sort by this key (created)",
    );
    REVERSE = switch("reverse", "reverse the order").short('r');
    FORCE_CLOCK =
        switch("force-clock", "list expired and old backups even if the clock has jumped");
    LIMIT = option("limit", "N", "at most the first N");
    LONG = switch("long", "show each in full, one field per line").short('l');
    FILES = switch("files", "list the files inside");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-ls",
    summary: "list backups and what is inside them",
    usage: "[flags] [ID|NAME...]  or  bk-ls [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};
