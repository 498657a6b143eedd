//! The flags of bk-ls.

use bk_cli::{Flag, Operands, Program};

pub(crate) const PROGRAM: Program = Program {
    name: "bk-ls",
    summary: "list backups and what is inside them",
    usage: "[flags] [ID|NAME...]  or  bk-ls [flags] - <RECORDS",
    operands: Operands::Backups,
    flags: &[
        Flag::new(
            "type",
            Some('t'),
            Some("manual|pre-upgrade|automatic"),
            "of this type, or one of these types",
        ),
        Flag::new(
            "status",
            Some('s'),
            Some("creating|completed|failed|moving|deleting"),
            "in this state, or one of these states",
        ),
        Flag::new(
            "available",
            None,
            None,
            "completed, and the archive is there",
        ),
        Flag::new(
            "missing",
            None,
            None,
            "completed, but the archive is not there",
        ),
        Flag::new(
            "offline",
            None,
            None,
            "completed, but its storage is not there",
        ),
        Flag::new("expired", None, None, "whose time is over"),
        Flag::new(
            "expires-within",
            None,
            Some("SPAN"),
            "whose time ends within SPAN from now",
        ),
        Flag::new(
            "since",
            None,
            Some("TIME"),
            "created at TIME (a date, 30d) or later",
        ),
        Flag::new("until", None, Some("TIME"), "created before TIME"),
        Flag::new("name", Some('n'), Some("GLOB"), "whose name matches"),
        Flag::new("host", None, Some("NAME"), "made on this host"),
        Flag::new("source-version", None, Some("VERSION"), "of this version"),
        Flag::new("protected", None, None, "protected from removal"),
        Flag::new(
            "larger",
            None,
            Some("SIZE"),
            "whose archive is larger than SIZE",
        ),
        Flag::new(
            "unverified-for",
            None,
            Some("SPAN"),
            "completed, and not proved whole for SPAN",
        ),
        Flag::new("latest", None, None, "only the newest completed one"),
        Flag::new(
            "each-type",
            None,
            None,
            "with --latest: the newest of each type",
        ),
        Flag::new(
            "sort",
            None,
            Some("id|name|type|status|version|created|expires|size|files"),
            "in this order (created)",
        ),
        Flag::new("reverse", Some('r'), None, "in the opposite order"),
        Flag::new(
            "force-clock",
            None,
            None,
            "list what is expired or old though the clock seems to have jumped",
        ),
        Flag::new("limit", None, Some("N"), "at most the first N"),
        Flag::new("long", Some('l'), None, "show each in full, a field a line"),
        Flag::new("files", None, None, "list what is inside"),
    ],
};
