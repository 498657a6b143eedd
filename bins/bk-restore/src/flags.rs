//! The flags of bk-restore, and the settings that all restorations share.
//!
//! Knows no backup.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;
use bk_archive::accounts::Ids;
use bk_archive::restore::attributes::{Owners, Rights};
use bk_archive::threads;
use bk_cli::units;
use bk_cli::{Arguments, Operands, Program, UsageError, option, switch};

/// Source code compresses to a fifth of its size, a log to a twentieth: more than this suggests an
/// attack.
const DEFAULT_RATIO: u64 = 200;
/// More threads would cost memory and gain no speed.
const JOBS_MAX: usize = 4;

bk_cli::flags! {
    DIRECTORY =
        option("directory", "DIR", "restore into DIR, which is empty or made anew").short('C');
    INTO_EXISTING = switch("into-existing", "restore into a DIR that is not empty");
    OVERWRITE = switch("overwrite", "with --into-existing: replace existing files");
    SWAP = switch("swap", "replace DIR by what is restored; keep the old one");
    TO_SOURCE = switch("to-source", "replace the sources by what is restored; keep the old");
    TEST = switch("test", "restore to a scratch directory, compare, remove it");
    STDOUT = option("stdout", "PATH", "print one file of the backup, and nothing else");
    PATH = option("path", "GLOB", "restore only what matches, and what is below");
    DRY_RUN = switch("dry-run", "print what would be restored; change nothing").short('n');
    STRIP_COMPONENTS = option("strip-components", "N", "drop the first N parts of each name");
    SAME_OWNER = switch("same-owner", "restore owners and setuid bits (root: always)");
    NUMERIC_OWNER = switch("numeric-owner", "restore owners by number, not by name");
    DEVICES = switch("devices", "restore device nodes (root only)");
    NO_VERIFY = switch("no-verify", "do not check the hash first");
    MAX_SIZE = option("max-size", "SIZE", "refuse to restore more than SIZE");
    MAX_RATIO = option("max-ratio", "N", "refuse more than N times the archive's size (200)");
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-restore",
    summary: "restore backups, whole or some paths",
    usage: "[flags] [ID|NAME...] [-- PATH...]  or  bk-restore [flags] [-] <RECORDS",
    operands: Operands::Backups,
    flags: FLAGS,
};

/// Prints one line on stderr.
pub(crate) fn warn(text: &str) {
    PROGRAM.warn(text);
}

/// Where to restore to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum To {
    Directory(PathBuf, Existing),
    Source,
    /// The directory in which the scratch directory is made.
    Test(PathBuf),
    Stdout(Vec<u8>),
}

/// How an existing directory is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It must be empty.
    Empty,
    /// What is restored is merged into it.
    Into { overwrite: bool },
    /// What is restored replaces it; it is kept under another name.
    Swap,
}

/// What the flags say for every backup.
pub(crate) struct Settings {
    pub(crate) to: To,
    pub(crate) is_dry_run: bool,
    pub(crate) strip: usize,
    /// Which attributes may be restored.
    pub(crate) rights: Rights,
    pub(crate) verify: bool,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_ratio: u64,
    pub(crate) jobs: usize,
}

impl Settings {
    /// `has_paths` tells whether some entries are wanted alone.
    ///
    /// # Errors
    /// [`UsageError`], which names the flag.
    pub(crate) fn new(arguments: &Arguments, has_paths: bool) -> Result<Self> {
        let strip = arguments.parsed(&STRIP_COMPONENTS, units::parse_count)?;
        let is_root = rustix::process::geteuid().is_root();
        let by_number = arguments.has(&NUMERIC_OWNER);
        let owners = match arguments.has(&SAME_OWNER) || is_root {
            false => Owners::Left,
            true if by_number => Owners::ByNumber,
            true => Owners::ByName,
        };
        let settings = Self {
            to: to(arguments)?,
            is_dry_run: arguments.has(&DRY_RUN),
            strip: strip.unwrap_or(0),
            rights: Rights {
                owners,
                ids: Ids::of_this_machine(),
                devices: arguments.has(&DEVICES),
                privileged: is_root,
            },
            verify: !arguments.has(&NO_VERIFY),
            max_bytes: arguments.parsed(&MAX_SIZE, units::parse_size)?,
            max_ratio: arguments
                .parsed(&MAX_RATIO, units::parse_count)?
                .map_or(DEFAULT_RATIO, |ratio| ratio as u64),
            jobs: threads::available().min(JOBS_MAX),
        };
        let is_whole = !has_paths && settings.strip == 0;
        if settings.to == To::Source && !is_whole {
            return wrong("--to-source restores all: for some paths, name a directory with -C");
        }
        if matches!(settings.to, To::Stdout(_)) && !is_whole {
            return wrong("--stdout prints one file: no other paths can be given");
        }
        if settings.is_dry_run && matches!(settings.to, To::Test(_) | To::Stdout(_)) {
            return wrong(
                "--dry-run is for -C DIR and --to-source: --test and --stdout change no target",
            );
        }
        if settings.rights.devices && !is_root {
            return wrong("--devices: only root can make devices");
        }
        Ok(settings)
    }
}

fn wrong<T>(text: &str) -> Result<T> {
    Err(UsageError(text.to_owned()).into())
}

fn to(arguments: &Arguments) -> Result<To> {
    let has = |flag| arguments.has(flag);
    let dir = arguments.value(&DIRECTORY).map(PathBuf::from);
    let file = arguments
        .value(&STDOUT)
        .map(|path| path.as_bytes().to_owned());
    if has(&OVERWRITE) && !has(&INTO_EXISTING) {
        return wrong("--overwrite needs --into-existing");
    }
    let overwrite = has(&OVERWRITE);
    let into = Existing::Into { overwrite };
    let existing = arguments.one_of(&[(SWAP, Existing::Swap), (INTO_EXISTING, into)])?;
    if existing.is_some() && (dir.is_none() || has(&TEST)) {
        return wrong("--swap and --into-existing need -C DIR, and exclude --test");
    }
    let existing = existing.unwrap_or(Existing::Empty);
    match (dir, file, has(&TO_SOURCE), has(&TEST)) {
        (None, None, true, false) => Ok(To::Source),
        (None, Some(file), false, false) => Ok(To::Stdout(file)),
        (dir, None, false, true) => Ok(To::Test(dir.unwrap_or_else(scratch))),
        (Some(dir), None, false, false) => Ok(To::Directory(dir, existing)),
        (None, None, false, false) => {
            wrong("where to? Give -C DIR, --to-source, --test or --stdout PATH")
        }
        _ => {
            wrong("-C DIR, --to-source, --test and --stdout exclude each other, but -C and --test")
        }
    }
}

/// A backup may be large, and /tmp in memory.
fn scratch() -> PathBuf {
    let given = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty());
    given.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}
