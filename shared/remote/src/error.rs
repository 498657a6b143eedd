//! Why something at a location failed, in one line for whoever reads it at 3 a.m.
//!
//! Knows no protocol: whoever spoke with the place says what kind of failure it was.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// What a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No such object, bucket or directory.
    NotFound,
    /// An object of that key is there, and was not to be replaced.
    AlreadyThere,
    /// The upload was ended, or never begun: it begins anew.
    UnknownUpload,
    /// The object may not be removed yet; until when, where the place tells it.
    Locked(Option<Timestamp>),
    /// The credentials are missing, wrong, or allow too little.
    Refused,
    /// No answer, or none but "later", for as long as was allowed.
    Unreachable,
    /// What arrived is not what was sent.
    Checksum,
    /// The place cannot do it.
    Unsupported,
    /// The caller wished to stop.
    Stopped,
    /// Anything else.
    Other,
}

/// A failure at a location.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    told: Box<Told>,
}

#[derive(Debug, Clone)]
struct Told {
    location: String,
    key: Option<String>,
    reason: String,
    remedy: Option<&'static str>,
    tried: Option<(u32, Duration)>,
}

/// What the operations of a place return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Of the location itself, until [`of`](Self::of) names an object.
    pub fn new(kind: Kind, location: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self {
            kind,
            told: Box::new(Told {
                location: one_line(&location.to_string()),
                key: None,
                reason: one_line(&reason.to_string()),
                remedy: None,
                tried: None,
            }),
        }
    }

    /// The same, of an object there; of none, if the key is empty.
    #[must_use]
    pub fn of(mut self, key: &str) -> Self {
        self.told.key = (!key.is_empty()).then(|| one_line(key));
        self
    }

    /// The same, known to be of another kind.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub(crate) fn with_remedy(mut self, remedy: Option<&'static str>) -> Self {
        self.told.remedy = remedy;
        self
    }

    /// The same, after so many attempts.
    #[must_use]
    pub(crate) fn tried(mut self, attempts: u32, time: Duration) -> Self {
        self.told.tried = Some((attempts, time));
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Why, as the place or the system told it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.told.reason
    }
}

/// What others wrote, as part of a line: without line ends, control characters and markup, and not
/// longer than somebody reads.
pub(crate) fn one_line(text: &str) -> String {
    const MOST_CHARS: usize = 300;
    let mut line = String::new();
    let mut is_tag = false;
    for c in text.chars() {
        match c {
            '<' => is_tag = true,
            '>' if is_tag => {
                is_tag = false;
                line.push(' ');
            }
            _ if is_tag => {}
            _ if c.is_control() => line.push(' '),
            _ => line.push(c),
        }
    }
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told {
            location, reason, ..
        } = &*self.told;
        let what = match &self.told.key {
            Some(key) => format!("'{key}' at {location}"),
            None => location.clone(),
        };
        match self.kind {
            Kind::NotFound => write!(f, "{what} is not there"),
            Kind::AlreadyThere => write!(f, "{what} is there already"),
            Kind::UnknownUpload => write!(f, "the upload of {what} is no longer known there"),
            Kind::Locked(Some(until)) => write!(f, "{what} is locked until {until:.0}"),
            Kind::Locked(None) => write!(f, "{what} is locked"),
            Kind::Refused => write!(f, "access to {what} is refused"),
            Kind::Unreachable => write!(f, "{what} cannot be reached"),
            Kind::Checksum => write!(f, "{what} has another checksum than it should have"),
            Kind::Unsupported => write!(f, "{what}: not supported there"),
            Kind::Stopped => write!(f, "{what}: interrupted"),
            Kind::Other => write!(f, "{what}"),
        }?;
        if !reason.is_empty() {
            write!(f, ": {reason}")?;
        }
        if let Some((attempts, time)) = self.told.tried.filter(|(attempts, _)| *attempts > 1) {
            write!(f, " ({attempts} attempts in {} s)", time.as_secs())?;
        }
        match self.told.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_without_markup_whatever_a_store_answers() {
        let reason =
            "400 <?xml version=\"1.0\"?>\n<Error><Code>Odd</Code>\r\n\u{1b}[1mtext</Error>";
        let error = Error::new(Kind::Other, "s3://b/p", reason).of("web1/a\nb");
        assert_eq!(error.to_string(), "'web1/a b' at s3://b/p: 400 Odd [1mtext");
        let long = Error::new(Kind::Other, "s3://b", "é".repeat(1000)).to_string();
        assert!(
            long.ends_with("é...") && long.chars().count() < 320,
            "{long}"
        );
    }

    #[test]
    fn it_tells_the_attempts_and_the_remedy() {
        let error = Error::new(Kind::Unreachable, "gs://b", "connection refused")
            .tried(4, Duration::from_millis(2900))
            .with_remedy(Some("check the network"));
        assert_eq!(
            error.to_string(),
            "gs://b cannot be reached: connection refused (4 attempts in 2 s); check the network"
        );
        let until = "2027-01-02T03:04:05Z".parse().unwrap();
        let error = Error::new(Kind::Locked(Some(until)), "s3://b", "").of("x");
        assert_eq!(
            error.to_string(),
            "'x' at s3://b is locked until 2027-01-02T03:04:05Z"
        );
    }
}
