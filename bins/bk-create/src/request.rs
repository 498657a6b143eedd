//! A request: what is to be backed up, and what its record is to say.
//!
//! Read from the flags, or from a line on stdin, which overrides the flags. Touches no file but those
//! that list paths or globs.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bk_archive::format::codec::Codec;
use bk_archive::restore::names::normalize;
use bk_cli::content;
use bk_cli::operands::check_no_terminal;
use bk_cli::units;
use bk_cli::{Arguments, Flag, UsageError, usage};
use bk_schema::excludes::Excludes;
use bk_schema::invalid::invalid;
use bk_schema::lines::{self, string};
use bk_schema::metadata::{check_key, parse_value, split_pair};
use bk_schema::record::{Backup, BackupType, check_new_name};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::command::Run;
use crate::excludes;
use crate::files_from::Listed;
use crate::flags::{
    COMMAND, DESCRIPTION, DIRECTORY, ESTIMATE, EXPIRES, FILES_FROM, METADATA, NAME, NULL, PROGRAM,
    PROTECT, SOURCE_VERSION, STDIN_FILENAME, STDIN_FROM_COMMAND, TYPE,
};

/// Keys of a record that a request cannot set: bk-create does.
const RESULTS: [&str; 7] = [
    "id",
    "status",
    "backup_path",
    "backup_size",
    "file_count",
    "backup_hash",
    "created_at",
];

/// Flags that need a PATH, beside those of excludes.
const FLAGS_OF_PATHS: [Flag; 3] = [DIRECTORY, FILES_FROM, NULL];

/// What is left of a backup without them.
const NO_PATH: &str = "is for a PATH, and there is none";

/// A file whose content comes from a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Its name in the archive.
    pub(crate) filename: String,
    /// What prints the content; `None` for standard input.
    pub(crate) command: Option<Run>,
    /// Whether it is all that is backed up.
    pub(crate) is_alone: bool,
}

/// The default name of what a command prints, as in restic.
const FILENAME: &str = "stdin";

/// What is to be backed up, and what its record is to say.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    sources: Vec<PathBuf>,
    /// More sources.
    listed: Listed,
    pub(crate) excludes: Excludes,
    /// Beside sources, or without any. Sorted by name.
    pub(crate) streams: Vec<Stream>,
    pub(crate) name: Option<String>,
    pub(crate) backup_type: BackupType,
    pub(crate) source_version: Option<String>,
    /// Where the line names one.
    pub(crate) codec: Option<Codec>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) protected: bool,
    pub(crate) expires_at: Option<Timestamp>,
    /// Keys of the line that bk-create does not know.
    pub(crate) passed: Map<String, Value>,
}

impl Request {
    /// The request of the flags and the operands.
    ///
    /// # Errors
    /// [`UsageError`], which names the flag.
    pub(crate) fn from_flags(arguments: &Arguments, now: Timestamp) -> Result<Self> {
        let text = |flag| Ok::<_, anyhow::Error>(arguments.text(flag)?.map(str::to_owned));
        let mut metadata = Map::new();
        for pair in arguments.texts(&METADATA)? {
            let (key, text) = split_pair(pair).map_err(|e| usage(&e, "--metadata"))?;
            metadata.insert(key.to_owned(), parse_value(text));
        }
        if let Some(name) = arguments.text(&NAME)? {
            check_new_name(name).map_err(|e| usage(&e, "--name"))?;
        }
        let streams = streams_of_flags(arguments)?;
        let is_alone = streams.iter().any(|it| it.is_alone);
        let is_source = |operand: &&OsString| !is_alone && *operand != "-";
        let sources = arguments.operands.iter().filter(is_source);
        let sources = sources.map(PathBuf::from).collect();
        Ok(Self {
            sources,
            listed: Listed::of_flags(arguments)?,
            excludes: excludes::of_flags(arguments)?,
            streams,
            name: text(&NAME)?,
            backup_type: arguments
                .parsed(&TYPE, BackupType::parse)?
                .unwrap_or(BackupType::Manual),
            source_version: arguments.parsed(&SOURCE_VERSION, parse_version)?,
            codec: None,
            description: text(&DESCRIPTION)?,
            metadata,
            protected: arguments.has(&PROTECT),
            expires_at: arguments.parsed(&EXPIRES, |time| parse_expiry(time, now))?,
            passed: Map::new(),
        })
    }

    /// The request of a line, with the flags as defaults.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn with_line(&self, line: Value, now: Timestamp) -> Result<Self> {
        let Value::Object(mut object) = line else {
            bail!("it is not an object with the key sources");
        };
        let mut request = self.clone();
        request.set_streams(&mut object)?;
        request.listed.set(&mut object)?;
        let is_of_paths = |(key, value): &(&String, &Value)| {
            Excludes::KEYS.contains(&key.as_str()) && !value.is_null()
        };
        let of_paths = object.iter().find(is_of_paths).map(|(key, _)| key.clone());
        for (key, value) in object {
            request
                .set(&key, value, now)
                .with_context(|| format!("its {}", key.escape_debug()))?;
        }
        let has_paths = request.has_paths();
        ensure!(
            has_paths || !request.streams.is_empty(),
            "it has no sources"
        );
        ensure!(
            !has_paths || !request.is_alone(),
            "it has sources beside its command"
        );
        if let Some(key) = of_paths.filter(|_| !has_paths) {
            bail!("its {key}: is for sources, and it has a command");
        }
        Ok(request)
    }

    /// Whether a single stream is all that is backed up, and no path can be.
    fn is_alone(&self) -> bool {
        self.streams.iter().any(|it| it.is_alone)
    }

    pub(crate) fn has_paths(&self) -> bool {
        self.paths().next().is_some()
    }

    /// Both, as they are told where there is no record.
    pub(crate) fn told(&self) -> impl Iterator<Item = String> {
        let paths = self.paths().map(|it| it.to_string_lossy().into_owned());
        let streams = self.streams.iter();
        paths.chain(streams.map(|it| format!("stdin:{}", it.filename)))
    }

    /// What is to be backed up, beside streams.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().chain(&self.listed.paths)
    }

    /// Takes the keys of streams out of the line.
    fn set_streams(&mut self, object: &mut Map<String, Value>) -> Result<()> {
        let mut take = |key| object.shift_remove(key).filter(|value| !value.is_null());
        let commands = take("commands").map(commands).transpose();
        let commands = commands.context("its commands")?;
        let filename = take("stdin_filename").map(|value| check_filename(&string(value)?));
        let filename = filename.transpose().context("its stdin_filename")?;
        let command = take("command").map(words).transpose();
        let Some(command) = command.context("its command")? else {
            ensure!(
                filename.is_none(),
                "its stdin_filename needs a command: standard input carries the requests"
            );
            self.streams = commands.unwrap_or(std::mem::take(&mut self.streams));
            return Ok(());
        };
        ensure!(commands.is_none(), "it has commands beside its command");
        self.streams = vec![Stream {
            filename: filename.unwrap_or_else(|| FILENAME.to_owned()),
            command: Some(Run::Words(command)),
            is_alone: true,
        }];
        // What the flags say of sources is for the other lines.
        self.listed = Listed::default();
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value, now: Timestamp) -> Result<()> {
        ensure!(
            !RESULTS.contains(&key),
            "cannot be requested: bk-create sets it"
        );
        let is_of_sources = key == "sources" || Excludes::KEYS.contains(&key);
        if value.is_null() && (is_of_sources || Backup::KEYS.contains(&key)) {
            return Ok(());
        }
        match key {
            "sources" => self.sources = sources(value)?,
            "backup_name" => {
                let name = string(value)?;
                check_new_name(&name)?;
                self.name = Some(name);
            }
            "backup_type" => self.backup_type = BackupType::parse(&string(value)?)?,
            "source_version" => self.source_version = Some(parse_version(&string(value)?)?),
            "compression_type" => {
                let codec = Codec::named(&string(value)?);
                self.codec = Some(codec.context("is neither gzip nor zstd")?);
            }
            "description" => self.description = Some(string(value)?),
            "backup_metadata" => {
                let Value::Object(metadata) = value else {
                    bail!("is not an object");
                };
                metadata.keys().try_for_each(|key| check_key(key))?;
                self.metadata.extend(metadata);
            }
            "protected" => self.protected = value.as_bool().context("is neither true nor false")?,
            "expires_at" => self.expires_at = Some(parse_expiry(&string(value)?, now)?),
            _ if Excludes::KEYS.contains(&key) => {
                excludes::set(&mut self.excludes, key, value)?;
            }
            _ => {
                self.passed.insert(key.to_owned(), value);
            }
        }
        Ok(())
    }
}

/// The streams that the flags ask for.
fn streams_of_flags(arguments: &Arguments) -> Result<Vec<Stream>> {
    let parse = |pair: &str| {
        let pair = pair.split_once('=');
        let (name, line) = pair.context("invalid command: use NAME=CMD")?;
        anyhow::Ok((name.to_owned(), line.to_owned()))
    };
    let pairs = arguments.texts(&COMMAND)?.into_iter().map(parse);
    let pairs: Result<_> = pairs.collect();
    let streams = pairs
        .and_then(streams)
        .map_err(|e| usage(&e, "--command"))?;
    match stream_alone(arguments)? {
        None => Ok(streams),
        Some(_) if !streams.is_empty() => {
            let text = "--command goes with neither --stdin-filename nor --stdin-from-command";
            Err(UsageError(text.into()).into())
        }
        Some(alone) => Ok(vec![alone]),
    }
}

/// Shell commands with the names of their files.
fn streams(pairs: Vec<(String, String)>) -> Result<Vec<Stream>> {
    let mut all = Vec::new();
    for (name, line) in pairs {
        let filename = check_filename(&name)?;
        ensure!(
            !line.trim().is_empty() && !line.contains('\0'),
            "the command of '{filename}' is empty, or cannot be an argument"
        );
        ensure!(
            all.iter().all(|it: &Stream| it.filename != filename),
            "'{filename}' is the name of two commands"
        );
        all.push(Stream {
            filename,
            command: Some(Run::Shell(line)),
            is_alone: false,
        });
    }
    all.sort_by(|one, other| Path::new(&one.filename).cmp(Path::new(&other.filename)));
    Ok(all)
}

fn commands(value: Value) -> Result<Vec<Stream>> {
    let Value::Object(commands) = value else {
        bail!("are no object with a command for each name");
    };
    let pairs = commands.into_iter();
    let pairs = pairs.map(|(name, line)| Ok((name, string(line)?)));
    streams(pairs.collect::<Result<_>>()?)
}

/// # Errors
/// A flag that needs a PATH.
fn check_no_paths(arguments: &Arguments) -> Result<()> {
    let mut flags = FLAGS_OF_PATHS.into_iter().chain(content::EXCLUDES);
    match flags.find(|flag| arguments.has(flag)) {
        Some(flag) => Err(UsageError(format!("--{} {NO_PATH}", flag.long)).into()),
        None => Ok(()),
    }
}

/// The stream that is all that the flags ask for; all operands are its command.
fn stream_alone(arguments: &Arguments) -> Result<Option<Stream>> {
    let wrong = |text: String| Err(UsageError(text).into());
    let filename = arguments.parsed(&STDIN_FILENAME, check_filename)?;
    let is_command = arguments.has(&STDIN_FROM_COMMAND);
    if filename.is_none() && !is_command {
        return Ok(None);
    }
    check_no_paths(arguments)?;
    if arguments.has(&ESTIMATE) {
        return wrong(
            "--estimate: the size of what comes through a pipe is not known before".into(),
        );
    }
    let operands = &arguments.operands;
    let command = match is_command {
        true if operands.is_empty() || arguments.before_dashes != Some(0) => {
            return wrong("--stdin-from-command runs the command that stands after '--'".into());
        }
        true => Some(Run::Words(operands.clone())),
        false if !operands.is_empty() => {
            return wrong("--stdin-filename backs up standard input alone, and no PATH".into());
        }
        false if std::io::stdin().is_terminal() => {
            return wrong(
                "--stdin-filename backs up standard input, which is a terminal: pipe something in"
                    .into(),
            );
        }
        false => None,
    };
    Ok(Some(Stream {
        filename: filename.unwrap_or_else(|| FILENAME.to_owned()),
        command,
        is_alone: true,
    }))
}

/// The name as it is stored: like a PATH, without a leading slash.
fn check_filename(name: &str) -> Result<String> {
    let wrong = || invalid("file name", name, "a path that does not end with a slash");
    if name.ends_with('/') || name.contains('\0') {
        return Err(wrong());
    }
    let plain = String::from_utf8(normalize(name.as_bytes())?)?;
    if plain.is_empty() {
        return Err(wrong());
    }
    Ok(plain)
}

fn words(value: Value) -> Result<Vec<OsString>> {
    let Value::Array(words) = value else {
        bail!("is not an array of words");
    };
    let words: Vec<_> = words.into_iter().map(string).collect::<Result<_>>()?;
    let is_word = |word: &String| !word.contains('\0');
    ensure!(
        words.iter().all(is_word) && words.first().is_some_and(|first| !first.is_empty()),
        "is empty, or has a word that cannot be an argument"
    );
    Ok(words.into_iter().map(OsString::from).collect())
}

fn sources(value: Value) -> Result<Vec<PathBuf>> {
    let all = match value {
        Value::String(one) => vec![Value::String(one)],
        Value::Array(all) => all,
        _ => bail!("are not an array of paths"),
    };
    let path = |value| {
        let text = string(value)?;
        ensure!(
            !text.is_empty() && !text.contains('\0'),
            "have an empty path, or one with a NUL"
        );
        Ok(PathBuf::from(text))
    };
    all.into_iter().map(path).collect()
}

fn parse_version(text: &str) -> Result<String> {
    ensure!(!text.is_empty(), "a version cannot be empty");
    Ok(text.to_owned())
}

fn parse_expiry(text: &str, now: Timestamp) -> Result<Timestamp> {
    let time = units::parse_future(text, now)?;
    ensure!(
        time >= now,
        "{time} is past: the backup would be expired before it is made"
    );
    Ok(time)
}

/// The operands as one request, or one a line on stdin; all are checked before the first is begun.
pub(crate) fn requests(arguments: &Arguments, now: Timestamp) -> Result<Vec<Request>> {
    let request = Request::from_flags(arguments, now)?;
    let reads_lines = arguments.operands == ["-"];
    if arguments.has(&NULL) && !arguments.has(&FILES_FROM) && !reads_lines {
        return Err(UsageError("--null goes with --files-from".into()).into());
    }
    if request.is_alone() {
        return Ok(vec![request]);
    }
    match arguments.operands.as_slice() {
        [] if !request.listed.paths.is_empty() => Ok(vec![request]),
        [] if arguments.has(&FILES_FROM) => {
            Err(UsageError("nothing is given to back up: --files-from lists nothing".into()).into())
        }
        [] if !request.streams.is_empty() => {
            check_no_paths(arguments)?;
            let text = "--estimate: the size of what commands print is not known before";
            ensure!(!arguments.has(&ESTIMATE), UsageError(text.into()));
            Ok(vec![request])
        }
        [] => Err(UsageError(format!(
            "nothing is given to back up; try '{} --help'",
            PROGRAM.name
        ))
        .into()),
        [one] if one == "-" => {
            check_no_terminal("directories or files")?;
            let read = |(number, value)| {
                let request = request.with_line(value, now);
                request.with_context(|| format!("line {number}"))
            };
            let values = lines::read_values(std::io::stdin().lock());
            let requests = values.and_then(|all| all.into_iter().map(read).collect());
            requests.map_err(|e| usage(&e, "bad input"))
        }
        all if all.iter().any(|one| one == "-") => {
            Err(UsageError("'-' must be the only operand: it reads standard input".into()).into())
        }
        _ => Ok(vec![request]),
    }
}
