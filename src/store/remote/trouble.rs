//! Why a remote store did not do what was asked, in the words of a user.

use std::error::Error as _;
use std::io;

use opendal::{Error, ErrorKind};

use super::Credentials;
use crate::store::StoreError;

/// What a service of ours says of a login that its server does not accept.
pub(super) const UNKNOWN_LOGIN: &str = "UnknownLogin";

/// What is wrong with a remote store, where more can be said than that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no such bucket.
    #[error("there is no such bucket")]
    NoBucket,
    /// Unknown access key, or wrong secret.
    #[error("the server does not accept the access key or its secret")]
    WrongKey,
    /// Unknown user, or wrong password.
    #[error("the server does not accept the user or the password")]
    WrongPassword,
    /// Known, and may not.
    #[error("these credentials do not allow it")]
    Denied,
    /// A session has ended.
    #[error("the credentials have expired")]
    Expired,
    /// Signatures hold for minutes only.
    #[error("the clock of this machine and that of the server differ too much")]
    ClockSkew,
    /// Signed for another region.
    #[error("the bucket is in another region")]
    OtherRegion,
    /// The certificate of the server is not trusted.
    #[error("the server's certificate is not trusted")]
    Certificate,
    /// No answer.
    #[error("the server does not answer")]
    Unreachable,
    /// Answers that end in the middle.
    #[error("the server's answers break off")]
    BreaksOff,
    /// It says that it is too busy, again and again.
    #[error("the server is too busy")]
    Busy,
}

impl Trouble {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NoBucket => "make the bucket, or check the name in `location`, `endpoint` and `region`",
            Self::WrongKey => "check the credentials of this repository, and that they are for its endpoint and region",
            Self::WrongPassword => {
                "check `username` and `password` in `credentials-file`, or RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD"
            }
            Self::Denied => "give the key the right to list, read and write the bucket; only `bk prune` has to delete",
            Self::Expired => "renew the credentials, then run the command again; what is stored already is used",
            Self::ClockSkew => "set the clock of this machine, as `timedatectl` shows it, then run the command again",
            Self::OtherRegion => "set `region` of the repository to that of the bucket",
            Self::Certificate => {
                "check the endpoint and the clock; a certificate of your own must be in the system's trust store"
            }
            Self::Unreachable | Self::BreaksOff => {
                "check the network and `endpoint`, then run the command again; what is stored already is used"
            }
            Self::Busy => "run the command again later; what is stored already is used",
        }
    }

    fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "NoSuchBucket" => Self::NoBucket,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "NotSignedUp"
            | "InvalidClientTokenId" => Self::WrongKey,
            UNKNOWN_LOGIN => Self::WrongPassword,
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "NotEntitled" => Self::Denied,
            "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" => Self::Expired,
            "RequestTimeTooSkewed" | "RequestExpired" => Self::ClockSkew,
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
                Self::OtherRegion
            }
            "SlowDown" | "ServiceUnavailable" | "TooManyRequests" => Self::Busy,
            _ => return None,
        })
    }
}

/// Whether the server says that no room is left, which services do in several ways.
fn is_full(code: &str, text: &str) -> bool {
    let words = ["storage cap", "quota exceeded", "Insufficient Storage", "status: 507", "No space left"];
    matches!(code, "QuotaExceeded" | "StorageCapExceeded" | "InsufficientStorage" | "XMinioStorageFull")
        || words.iter().any(|word| text.contains(word))
}

/// The value after `name: "` in the text of an error that the service read from XML.
fn quoted<'a>(text: &'a str, name: &str) -> &'a str {
    let after = text.split_once(name).map_or("", |(_, after)| after);
    after.split_once('"').map_or("", |(value, _)| value)
}

/// The status of the answer, from the text of what OpenDAL knows of it.
fn status(context: &str) -> Option<&str> {
    let after = context.split_once("status: ")?.1;
    after.get(..3).filter(|status| status.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What is known of an error, and the words of the server or the system about it.
fn look(error: &Error) -> (Option<Trouble>, bool, String) {
    let message = error.message();
    let (code, words) = (quoted(message, "code: \""), quoted(message, "message: \""));
    let context = error.to_string();
    let full = is_full(code, &context);
    let mut deepest = None;
    let mut cause = error.source();
    while let Some(inner) = cause {
        deepest = Some(inner.to_string());
        cause = inner.source();
    }
    let deepest = deepest.unwrap_or_default();
    let has_status = |wanted: &str| status(&context) == Some(wanted);
    let trouble = Trouble::of_code(code).or(match error.kind() {
        ErrorKind::NotFound => None,
        ErrorKind::PermissionDenied => Some(Trouble::Denied),
        ErrorKind::RateLimited => Some(Trouble::Busy),
        _ if has_status("401") => Some(Trouble::WrongKey),
        _ if has_status("403") => Some(Trouble::Denied),
        _ if ["certificate", "UnknownIssuer"].iter().any(|word| deepest.contains(word)) => Some(Trouble::Certificate),
        _ if message.contains("send http request") || message.contains("timeout reached") => Some(Trouble::Unreachable),
        _ if message.contains("read data from http response") => Some(Trouble::BreaksOff),
        _ if ["500", "502", "503", "504"].into_iter().any(has_status) && code.is_empty() => Some(Trouble::Busy),
        _ => None,
    });
    let words = match (code, words) {
        ("", _) if !deepest.is_empty() => deepest,
        // An answer to a question without a body has none either.
        ("", _) if message.is_empty() => {
            status(&context).map_or_else(String::new, |status| format!("HTTP status {status}"))
        }
        ("", _) => message.lines().next().unwrap_or_default().chars().take(200).collect(),
        (code, "") => code.to_owned(),
        (code, words) => format!("{code}: {words}"),
    };
    (trouble, full, words)
}

/// Names the object and the store, and leaves out whatever is secret.
pub(super) fn store_error(
    action: &'static str,
    name: &str,
    location: &str,
    credentials: Option<&Credentials>,
    error: &Error,
) -> StoreError {
    let (trouble, full, words) = look(error);
    let (name, location) = (name.to_owned(), location.to_owned());
    let words = credentials.map_or(words.clone(), |credentials| credentials.scrub(&words));
    match (error.kind(), trouble) {
        _ if full => StoreError::Full { name, location },
        (ErrorKind::NotFound, None) => StoreError::Missing { name, location },
        (ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch, None) => StoreError::Exists { name, location },
        (_, Some(trouble)) => StoreError::Remote { action, name, location, trouble, source: io::Error::other(words) },
        _ => StoreError::Io { action, name, location, source: io::Error::other(words) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, code: &str, words: &str) -> StoreError {
        let message = format!("S3Error {{ code: \"{code}\", message: \"{words}\", resource: \"\" }}");
        let credentials = Credentials::new("id-canary".into(), "secret-canary".into(), None);
        store_error("list", "keys", "s3://b/x", Some(&credentials), &Error::new(kind, message))
    }

    #[test]
    fn what_the_server_says_becomes_one_sentence_and_a_hint() {
        let cases = [
            (ErrorKind::ConfigInvalid, "NoSuchBucket", "there is no such bucket"),
            (ErrorKind::PermissionDenied, "InvalidAccessKeyId", "the server does not accept the access key"),
            (ErrorKind::PermissionDenied, "RequestTimeTooSkewed", "the clock of this machine"),
            (ErrorKind::PermissionDenied, "AccessDenied", "these credentials do not allow it"),
            (ErrorKind::Unexpected, "ExpiredToken", "the credentials have expired"),
            (ErrorKind::RateLimited, "SlowDown", "the server is too busy"),
        ];
        for (kind, code, expected) in cases {
            let text = error(kind, code, "x").to_string();
            assert!(text.starts_with(&format!("cannot list keys in s3://b/x: {expected}")), "{text}");
        }
    }

    #[test]
    fn an_object_that_is_missing_and_a_full_store_are_told_apart_from_the_rest() {
        assert!(error(ErrorKind::NotFound, "NoSuchKey", "x").is_missing());
        assert!(!error(ErrorKind::ConfigInvalid, "NoSuchBucket", "x").is_missing());
        let full = error(ErrorKind::PermissionDenied, "AccessDenied", "storage cap exceeded");
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        assert!(matches!(error(ErrorKind::Unexpected, "InternalError", "x"), StoreError::Io { .. }));
    }

    #[test]
    fn words_of_the_server_never_bring_a_secret_back() {
        let error = error(ErrorKind::PermissionDenied, "InvalidAccessKeyId", "no id-canary with secret-canary");
        let told = format!("{error:?} {error} {}", std::error::Error::source(&error).unwrap());
        assert!(told.contains("InvalidAccessKeyId") && !told.contains("canary"), "{told}");
    }
}
