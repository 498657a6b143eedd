//! What a store last answered to an operation, and what kind of failure that is.
//!
//! The library's own errors tell neither the status nor the code of the answer. Knows no operation.

use std::cell::RefCell;

use http::{HeaderMap, StatusCode};

use crate::error::{Error, Kind, one_line};
use crate::location::Location;

tokio::task_local! {
    /// Of the operation that this task is at.
    pub(crate) static LAST: RefCell<Answer>;
}

/// An answer, or that there was none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Who was asked.
    pub(crate) host: String,
    /// None where the connection failed.
    pub(crate) status: Option<StatusCode>,
    pub(crate) headers: HeaderMap,
    /// Of an answer that is no success.
    pub(crate) body: String,
    /// Why the connection failed, or the answer broke off.
    pub(crate) lost: Option<String>,
}

/// Keeps it as the last of the operation.
pub(crate) fn keep(answer: Answer) {
    // Without an operation there is nobody to tell.
    let _ = LAST.try_with(|last| last.replace(answer));
}

/// Notes that the last answer broke off.
pub(crate) fn lose(reason: String) {
    // As above.
    let _ = LAST.try_with(|last| last.borrow_mut().lost = Some(reason));
}

/// The deepest reason of an error: the ones above it only say where it passed.
pub(crate) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Where programs on a machine of a provider ask for their credentials.
pub(crate) fn is_metadata_host(host: &str) -> bool {
    [
        "169.254.169.254",
        "169.254.170.2",
        "metadata.google.internal",
        "metadata",
    ]
    .contains(&host)
}

fn is_token_host(host: &str) -> bool {
    let known = ["oauth2.googleapis.com", "login.microsoftonline.com"];
    known.contains(&host) || host.starts_with("sts.") || is_metadata_host(host)
}

/// Of an XML answer, what stands in an element.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

const REGION: &str = "set the region of the bucket";
const CLOCK: &str = "set the clock of this machine";
const ARCHIVED: &str = "have the store restore it from its archive class first";
const KEYS: &str = "check the credentials and what they allow";
const NO_KEYS: &str =
    "set the provider's environment variables, or give a file with the credentials";
const CERTIFICATE: &str = "SSL_CERT_FILE names a file with the certificates to trust";

impl Answer {
    /// A header, where the answer has it as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The store's own word for what is wrong.
    pub(crate) fn code(&self) -> &str {
        let code = element(&self.body, "Code");
        // Azure tells it also where there is no body.
        code.or_else(|| self.header("x-ms-error-code"))
            .unwrap_or_default()
    }

    fn reason(&self, status: StatusCode) -> String {
        let code = self.code();
        let message = element(&self.body, "Message").unwrap_or_default();
        let text = match (code, message) {
            ("", "") if self.body.is_empty() => {
                status.canonical_reason().unwrap_or_default().to_owned()
            }
            ("", "") => one_line(&self.body),
            ("", message) => message.to_owned(),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        };
        format!("{} {text}", status.as_u16())
    }

    /// The error of an operation that failed with `error`.
    pub(crate) fn error(&self, location: &Location, error: &object_store::Error) -> Error {
        if let Some(lost) = &self.lost {
            return self.lost_error(location, lost);
        }
        match self.status {
            // Not of the store: no provider is near.
            Some(status) if status.is_client_error() && is_metadata_host(&self.host) => {
                self.lost_error(location, "")
            }
            Some(status) if !status.is_success() => {
                let (kind, remedy) = self.failure(status);
                Error::new(kind, location, self.reason(status)).with_remedy(remedy)
            }
            _ => match error {
                object_store::Error::NotSupported { .. }
                | object_store::Error::NotImplemented { .. } => {
                    Error::new(Kind::Unsupported, location, error)
                }
                object_store::Error::NotFound { .. } => Error::new(Kind::NotFound, location, ""),
                _ => Error::new(Kind::Other, location, deepest(error)),
            },
        }
    }

    fn lost_error(&self, location: &Location, lost: &str) -> Error {
        if is_metadata_host(&self.host) {
            let error = Error::new(Kind::Refused, location, "there are no credentials");
            return error.with_remedy(Some(NO_KEYS));
        }
        if lost.contains("certificate") {
            return Error::new(Kind::Other, location, lost).with_remedy(Some(CERTIFICATE));
        }
        Error::new(Kind::Unreachable, location, lost)
    }

    fn failure(&self, status: StatusCode) -> (Kind, Option<&'static str>) {
        let status = status.as_u16();
        let code = self.code();
        if is_token_host(&self.host) && (400..500).contains(&status) && status != 429 {
            return (Kind::Refused, Some(KEYS));
        }
        let kind = match (status, code) {
            // Also where the parts of it are gone, as those of Azure are after a week: all is sent anew.
            (_, "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" | "InvalidBlockList") => {
                Kind::UnknownUpload
            }
            (_, "RequestTimeTooSkewed") => return (Kind::Refused, Some(CLOCK)),
            (
                _,
                "ExpiredToken" | "InvalidAccessKeyId" | "InvalidToken" | "SignatureDoesNotMatch",
            ) => {
                return (Kind::Refused, Some(KEYS));
            }
            (_, "BlobImmutableDueToPolicy" | "RetentionPolicyNotMet" | "ObjectUnderActiveHold") => {
                Kind::Locked(None)
            }
            (
                _,
                "BadDigest"
                | "InvalidDigest"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch"
                | "Md5Mismatch"
                | "Crc64Mismatch"
                | "IncompleteBody",
            ) => Kind::Checksum,
            (_, "NotImplemented" | "InvalidStorageClass") | (405 | 501, _) => Kind::Unsupported,
            (_, "ConditionalRequestConflict" | "OperationAborted" | "RequestTimeout") => {
                Kind::Unreachable
            }
            (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") | (301 | 307 | 308, _) => {
                return (Kind::Other, Some(REGION));
            }
            (_, "InvalidObjectState") => return (Kind::Other, Some(ARCHIVED)),
            (404 | 410, _) => Kind::NotFound,
            (412, _) | (409, "BlobAlreadyExists") => Kind::AlreadyThere,
            (401 | 403, _) => return (Kind::Refused, Some(KEYS)),
            (408 | 429 | 500..=599, _) => Kind::Unreachable,
            _ => Kind::Other,
        };
        (kind, None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Error {
        let location = "s3://b/p".parse().unwrap();
        let answer = Answer {
            status: Some(StatusCode::from_u16(status).unwrap()),
            body: body.to_owned(),
            ..Answer::default()
        };
        answer.error(&location, &generic())
    }

    fn generic() -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: "text of the library".into(),
        }
    }

    fn xml(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>Why\nnot</Message></Error>"
        )
    }

    #[test]
    fn the_code_of_an_answer_tells_its_kind() {
        for (status, code, kind) in [
            (404, "NoSuchKey", Kind::NotFound),
            (404, "NoSuchBucket", Kind::NotFound),
            (404, "NoSuchUpload", Kind::UnknownUpload),
            (412, "PreconditionFailed", Kind::AlreadyThere),
            (409, "ConditionalRequestConflict", Kind::Unreachable),
            (409, "Conflict", Kind::Other),
            (403, "AccessDenied", Kind::Refused),
            (400, "ExpiredToken", Kind::Refused),
            (400, "BadDigest", Kind::Checksum),
            (400, "InvalidStorageClass", Kind::Unsupported),
            (501, "NotImplemented", Kind::Unsupported),
            (503, "SlowDown", Kind::Unreachable),
            (500, "InternalError", Kind::Unreachable),
            (429, "", Kind::Unreachable),
            (400, "InvalidPart", Kind::UnknownUpload),
            (400, "InvalidBlockList", Kind::UnknownUpload),
            (403, "InvalidObjectState", Kind::Other),
            (400, "InvalidRequest", Kind::Other),
        ] {
            assert_eq!(told(status, &xml(code)).kind(), kind, "{status} {code}");
        }
    }

    #[test]
    fn the_answer_is_told_on_one_line_with_a_remedy() {
        assert_eq!(
            told(403, &xml("AccessDenied")).to_string(),
            "access to s3://b/p is refused: 403 AccessDenied: Why not; check the credentials and what they allow"
        );
        assert_eq!(
            told(502, "<html><body><h1>Bad Gateway</h1></body></html>").to_string(),
            "s3://b/p cannot be reached: 502 Bad Gateway"
        );
        assert_eq!(
            told(404, "").to_string(),
            "s3://b/p is not there: 404 Not Found"
        );
        assert_eq!(told(200, "").to_string(), "s3://b/p: text of the library");
    }

    #[test]
    fn a_lost_connection_is_for_now_and_no_credentials_are_not() {
        let location = "s3://b/p".parse().unwrap();
        let lost = |host: &str, why: &str| {
            let answer = Answer {
                host: host.to_owned(),
                lost: Some(why.to_owned()),
                ..Answer::default()
            };
            answer.error(&location, &generic())
        };
        assert_eq!(lost("h", "Connection refused").kind(), Kind::Unreachable);
        assert_eq!(lost("169.254.169.254", "timed out").kind(), Kind::Refused);
        let untrusted = lost("h", "invalid peer certificate: UnknownIssuer");
        assert_eq!(untrusted.kind(), Kind::Other);
        assert!(untrusted.to_string().contains("SSL_CERT_FILE"));
    }
}
