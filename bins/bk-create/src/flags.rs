//! The flags of bk-create, and the settings that all requests share.
//!
//! Knows no request: what concerns one backup is read in `request`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use bk_archive::format::codec::{Codec, Compression};
use bk_archive::threads;
use bk_cli::content;
use bk_cli::notices;
use bk_cli::units;
use bk_cli::{Arguments, Operands, Program, UsageError, option, switch, usage};
use bk_schema::invalid::{invalid, parse_choice};
use bk_schema::record::{Backup, Latest};

use crate::shrunk::{DEFAULT_PERCENT, parse_percent};

/// The compression where no flag tells it.
const VARIABLE: &str = "BK_COMPRESSION";
/// How long bk-create waits for free space by default.
const DEFAULT_LOW_SPACE_TIMEOUT: Duration = Duration::from_secs(600);

bk_cli::flags! {
    TYPE = option(
        "type",
        "manual|pre-upgrade|automatic",
        "why the backup is made (manual)",
    )
    .short('t');
    SOURCE_VERSION = option("source-version", "VERSION", "version of what is backed up");
    NAME = option("name", "NAME", "name of the backup (SOURCE_DATE_TIME)");
    DESCRIPTION = option("description", "TEXT", "a note for people").short('d');
    METADATA = option("metadata", "KEY=VALUE", "a fact to keep; JSON, else a string").short('m');
    HOST = option("host", "NAME", "the host that the backup is of");
    EXPIRES =
        option("expires", "TIME", "when it may be removed: 30d from now, or a time").short('e');
    PROTECT = switch("protect", "refuse its removal");
    DIRECTORY = option("directory", "DIR", "take relative paths from DIR").short('C');
    FILES_FROM = content::FILES_FROM;
    NULL = content::NULL;
    EXCLUDE = content::EXCLUDE;
    EXCLUDE_FROM = content::EXCLUDE_FROM;
    IGNORE_CASE_EXCLUDES = content::IGNORE_CASE_EXCLUDES;
    EXCLUDE_CACHES = content::EXCLUDE_CACHES;
    EXCLUDE_IF_PRESENT = content::EXCLUDE_IF_PRESENT;
    EXCLUDE_LARGER = content::EXCLUDE_LARGER;
    ONE_FILE_SYSTEM = content::ONE_FILE_SYSTEM;
    COMMAND = content::COMMAND;
    STDIN_FILENAME =
        option("stdin-filename", "NAME", "back up standard input as one file of this name");
    STDIN_FROM_COMMAND = switch("stdin-from-command", "back up what a command prints: -- CMD...");
    COMPRESSION = option("compression", "gzip|zstd[:LEVEL]", "how to compress (gzip)");
    LEVEL = option("level", "0-12", "compression level of gzip (6)");
    JOBS = option("jobs", "N", "compressing threads (one a core)").short('j');
    PARENT = option("parent", "BACKUP", "take over what is unchanged since BACKUP (the newest)");
    NO_PARENT = switch("no-parent", "read and compress all anew");
    IGNORE_INODE = switch("ignore-inode", "a file with another inode may be unchanged");
    IGNORE_CTIME = switch("ignore-ctime", "a file with another change time may be unchanged");
    STORAGE = option("storage", "DIR", "where to put the archive");
    INIT_STORAGE = switch("init-storage", "use DIR as a new storage, whatever it was before");
    DRY_RUN = switch("dry-run", "print the record that would be made; make nothing").short('n');
    ESTIMATE = switch("estimate", "print what it would take; make nothing");
    RESERVE = option("reserve", "SIZE", "space to leave free (5 %, at most 1 GiB)");
    ON_LOW_SPACE =
        option("on-low-space", "pause|fail", "what to do when less than that is left (pause)");
    LOW_SPACE_TIMEOUT = option("low-space-timeout", "SPAN", "longest pause (10m)");
    SHRINK_WARN = content::SHRINK_WARN;
    SYSLOG = notices::SYSLOG;
}

pub(crate) const PROGRAM: Program = Program {
    name: "bk-create",
    summary: "make a backup of directories, files, or what a command prints",
    usage: "[flags] PATH...  or  bk-create [flags] - <REQUESTS  or  bk-create [flags] --stdin-from-command -- CMD...",
    operands: Operands::Paths,
    flags: FLAGS,
};

/// What the flags say for every request.
pub(crate) struct Settings {
    pub(crate) base: Option<PathBuf>,
    /// Unless a request names another codec.
    compression: Compression,
    pub(crate) jobs: usize,
    pub(crate) parent: Choice,
    pub(crate) ignore_inode: bool,
    pub(crate) ignore_ctime: bool,
    pub(crate) storage: Option<PathBuf>,
    pub(crate) init_storage: bool,
    pub(crate) reserve_bytes: Option<u64>,
    pub(crate) on_low_space: OnLowSpace,
    pub(crate) low_space_timeout: Duration,
    /// By how many hundredths the content may shrink; 0 is by all.
    pub(crate) shrink_percent: u8,
}

/// Which backup may be the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    Newest,
    /// By its id or its name.
    This(String),
    None,
}

impl Choice {
    /// Whether it may be this one.
    pub(crate) fn admits(&self, backup: &Backup) -> bool {
        match self {
            Self::Newest => true,
            Self::This(wanted) if backup.backup_name == *wanted => true,
            Self::This(wanted) => match Latest::parse(wanted) {
                Some(Latest::OfAll) => true,
                Some(Latest::OfJob(job)) => backup.job() == Some(job),
                None => backup.id.to_string() == *wanted,
            },
            Self::None => false,
        }
    }
}

/// What to do when less than the reserve is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnLowSpace {
    Pause,
    Fail,
}

impl Settings {
    /// # Errors
    /// [`bk_cli::UsageError`], which names the flag.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let path = |flag| arguments.value(flag).map(PathBuf::from);
        Ok(Self {
            base: path(&DIRECTORY),
            compression: compression(arguments)?,
            jobs: arguments
                .parsed(&JOBS, |text| units::parse_number(text, 1..=512))?
                .unwrap_or_else(threads::available),
            parent: parent(arguments)?,
            ignore_inode: arguments.has(&IGNORE_INODE),
            ignore_ctime: arguments.has(&IGNORE_CTIME),
            storage: path(&STORAGE),
            init_storage: arguments.has(&INIT_STORAGE),
            reserve_bytes: arguments.parsed(&RESERVE, units::parse_size)?,
            on_low_space: arguments
                .parsed(&ON_LOW_SPACE, parse_on_low_space)?
                .unwrap_or(OnLowSpace::Pause),
            low_space_timeout: arguments
                .parsed(&LOW_SPACE_TIMEOUT, units::parse_duration)?
                .unwrap_or(DEFAULT_LOW_SPACE_TIMEOUT),
            shrink_percent: arguments
                .parsed(&SHRINK_WARN, parse_percent)?
                .unwrap_or(DEFAULT_PERCENT),
        })
    }

    /// How a backup is compressed whose request names a codec, or none.
    pub(crate) fn compression_of(&self, codec: Option<Codec>) -> Compression {
        let other = codec.filter(|codec| *codec != self.compression.codec);
        other.map_or(self.compression, Compression::of)
    }
}

/// The compression of `--compression`, else that of `$BK_COMPRESSION`.
///
/// # Errors
/// An unknown one, and a level for gzip where that is not used.
fn compression(arguments: &Arguments) -> Result<Compression> {
    let parse = |text: &str| {
        let wrong = || invalid("compression", text, Compression::FORM);
        Compression::parse(text).ok_or_else(wrong)
    };
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let of_variable = || {
        let text = variable.map(|value| value.to_string_lossy().into_owned());
        let parsed = text.map(|text| parse(&text)).transpose();
        parsed.map_err(|error| usage(&error, VARIABLE))
    };
    let compression = match arguments.parsed(&COMPRESSION, parse)? {
        Some(compression) => compression,
        None => of_variable()?.unwrap_or_default(),
    };
    let Some(level) = arguments.parsed(&LEVEL, |text| units::parse_number(text, 0..=12))? else {
        return Ok(compression);
    };
    if compression.codec != Codec::Gzip {
        let name = compression.codec.name();
        let text = format!("--level is for gzip: write --compression {name}:LEVEL");
        return Err(UsageError(text).into());
    }
    Compression::new(Codec::Gzip, level)
}

/// # Errors
/// Both that one is to be used and that none is.
fn parent(arguments: &Arguments) -> Result<Choice> {
    arguments.one_of(&[(PARENT, ()), (NO_PARENT, ())])?;
    Ok(match arguments.text(&PARENT)? {
        _ if arguments.has(&NO_PARENT) => Choice::None,
        Some(backup) => Choice::This(backup.to_owned()),
        None => Choice::Newest,
    })
}

fn parse_on_low_space(text: &str) -> Result<OnLowSpace> {
    let all = [("pause", OnLowSpace::Pause), ("fail", OnLowSpace::Fail)];
    parse_choice(&all, text, "value")
}
