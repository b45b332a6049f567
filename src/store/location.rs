//! What users write as the place of a repository.

mod restic;

use std::fmt;
use std::path::{Path, PathBuf};

/// The place of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder on a mounted file system.
    Local(PathBuf),
    /// A place on another machine.
    Remote(Remote),
}

/// A place on another machine. Holds no secret: a password in a location is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// What is spoken there.
    pub service: Service,
    /// URL of the server of a bucket, when the location says it and not the configuration.
    pub endpoint: Option<String>,
    /// The bucket, or the host with its port.
    pub place: String,
    /// Who is logged in, when the location says so.
    pub user: Option<String>,
    /// The folder below, without `/` at either end.
    pub path: String,
}

/// What is spoken with a remote place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A bucket of any service that speaks S3.
    S3,
    /// A bucket of Backblaze B2, through its S3 endpoint.
    B2,
    /// A folder behind WebDAV without encryption on the way.
    WebDav,
    /// A folder behind WebDAV over TLS.
    WebDavs,
    /// A folder behind SSH.
    Sftp,
    /// A server of restic's REST protocol, without encryption on the way. It takes restic's format only.
    Rest,
    /// A server of restic's REST protocol over TLS.
    Rests,
}

impl Service {
    const ALL: [Self; 7] = [Self::S3, Self::B2, Self::WebDav, Self::WebDavs, Self::Sftp, Self::Rest, Self::Rests];

    /// The word before `://`.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::B2 => "b2",
            Self::WebDav => "webdav",
            Self::WebDavs => "webdavs",
            Self::Sftp => "sftp",
            Self::Rest => "rest:http",
            Self::Rests => "rest:https",
        }
    }

    /// Whether it is a server of restic's REST protocol, which knows no other objects than restic's.
    #[must_use]
    pub const fn is_rest(self) -> bool {
        matches!(self, Self::Rest | Self::Rests)
    }

    /// Whether it is an object store, which has no folders and is paid by what lies there.
    #[must_use]
    pub const fn has_buckets(self) -> bool {
        matches!(self, Self::S3 | Self::B2)
    }
}

/// What a repository is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// bk-repository(7).
    #[default]
    Bk,
    /// That of restic and rustic.
    Restic,
}

impl Format {
    /// What is written before the location of a repository in restic's format.
    pub const RESTIC_PREFIX: &str = "restic:";

    /// The word for it in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bk => "bk",
            Self::Restic => "restic",
        }
    }

    /// Takes the format off the location that a user wrote.
    #[must_use]
    pub fn split(text: &str) -> (Self, &str) {
        match text.strip_prefix(Self::RESTIC_PREFIX) {
            Some(rest) => (Self::Restic, rest),
            None => (Self::Bk, text),
        }
    }
}

/// A text that is no place this program can use. Never repeats what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing.
    #[error("the location of the repository is empty")]
    Empty,
    /// A URL of a kind that is not supported.
    #[error("`{0}` locations are not supported by this version; a path, s3://, b2://, webdavs:// and sftp:// are")]
    Scheme(String),
    /// A place, or a way of writing one, that only repositories in restic's format have.
    #[error("`{0}` locations are of repositories in restic's format")]
    OnlyRestic(String),
    /// A URL without a bucket or host.
    #[error("a `{scheme}://` location names {what} first, and this one does not")]
    NoPlace {
        /// The word before `://`.
        scheme: &'static str,
        /// A bucket or a host.
        what: &'static str,
    },
    /// A URL with a password, a user where none belongs, `..`, or anything else that is no path.
    #[error("the `{scheme}://` location {problem}")]
    Wrong {
        /// The word before `://`.
        scheme: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl LocationError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Empty | Self::Scheme(_) => {
                "give the folder of the repository, such as /mnt/ssd/bk, a bucket, such as s3://bucket/host1, or a folder \
                 behind SSH, such as sftp://user@host/srv/bk"
            }
            Self::OnlyRestic(_) => {
                "write `restic:` before it, such as restic:rest:https://host:8000/path, for `bk import` and `bk export`"
            }
            Self::NoPlace { .. } => {
                "write it so: s3://bucket/host1, webdavs://user@host/folder or sftp://user@host/folder"
            }
            Self::Wrong { scheme, .. } if matches!(scheme.as_bytes(), b"sftp") => {
                "write it so: sftp://user@host:22/srv/bk, or sftp://user@host/~/bk below the home of the login; \
                 keys are those of ssh"
            }
            Self::Wrong { scheme, .. } if matches!(scheme.as_bytes(), b"rest:http" | b"rest:https") => {
                "write it so: restic:rest:https://user@host:8000/path; the password belongs into `credentials-file` or \
                 RESTIC_REST_PASSWORD"
            }
            Self::Wrong { .. } => "write it so: s3://bucket/host1; keys and passwords belong into `credentials-file`",
        }
    }
}

impl Location {
    /// Reads a location; a relative path counts from `folder`.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::Local(folder.join(text))) };
        if scheme == "file" {
            return Ok(Self::Local(folder.join(rest)));
        }
        match Service::ALL.into_iter().find(|service| service.scheme() == scheme) {
            Some(service) if service.is_rest() => return Err(LocationError::OnlyRestic(format!("{scheme}://"))),
            None if matches!(scheme, "s3:http" | "s3:https") => {
                return Err(LocationError::OnlyRestic(format!("{scheme}://")));
            }
            Some(service) => return Remote::parse(service, rest).map(Self::Remote),
            None => {}
        }
        if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(LocationError::Scheme(format!("{scheme}://")));
        }
        Ok(Self::Local(folder.join(text)))
    }

    /// Reads the location of a repository in `format`. One in restic's may be written as restic writes it, too:
    /// `s3:https://host/bucket/path`, `sftp:user@host:/path`, `rest:https://host/path`.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn parse_as(format: Format, text: &str, folder: &Path) -> Result<Self, LocationError> {
        match format {
            Format::Bk => Self::parse(text, folder),
            Format::Restic => restic::parse(text, folder),
        }
    }

    /// The folder, when it is one of this machine.
    #[must_use]
    pub fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Remote(_) => None,
        }
    }

    /// Whether it is a bucket of an object store.
    #[must_use]
    pub fn has_buckets(&self) -> bool {
        matches!(self, Self::Remote(remote) if remote.service.has_buckets())
    }
}

impl Remote {
    /// The host, and the port where one is given.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, Option<u16>) {
        host_and_port(&self.place).unwrap_or((&self.place, None))
    }

    fn parse(service: Service, rest: &str) -> Result<Self, LocationError> {
        let scheme = service.scheme();
        let wrong = |problem| LocationError::Wrong { scheme, problem };
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = match place.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(wrong("has a password in it")),
            Some(_) if service.has_buckets() => return Err(wrong("has a user or key in it")),
            Some((user, place)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), place),
            None => (None, place),
        };
        if place.is_empty() {
            let what = if service.has_buckets() { "a bucket" } else { "a host" };
            return Err(LocationError::NoPlace { scheme, what });
        }
        let path = path.trim_matches('/');
        if path.split('/').any(|part| part == "." || part == "..") || path.contains("//") {
            return Err(wrong("has `.`, `..` or an empty part in its path"));
        }
        if rest.contains(|one: char| one.is_control() || one.is_whitespace() || "?#".contains(one)) {
            return Err(wrong("has blanks, `?` or `#` in it"));
        }
        if service == Service::Sftp {
            let Some((host, _)) = host_and_port(place) else { return Err(wrong("has a port that is no number")) };
            // Either would be an option of ssh.
            if host.starts_with('-') || user.as_ref().is_some_and(|user| user.starts_with('-')) {
                return Err(wrong("has a host or user that begins with `-`"));
            }
            if path.is_empty() {
                return Err(wrong("names no folder"));
            }
        }
        Ok(Self { service, endpoint: None, place: place.to_owned(), user, path: path.to_owned() })
    }
}

/// The host without the brackets of an IPv6 address, and the port where one is given.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or(())).transpose().ok()?;
    Some((host, port)).filter(|(host, _)| !host.is_empty())
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{}:{endpoint}/", self.service.scheme())?,
            None => write!(f, "{}://", self.service.scheme())?,
        }
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.place)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse(text, Path::new("/home/me"))
    }

    #[test]
    fn paths_are_locations_and_unknown_schemes_are_named() {
        assert_eq!(parse("repo"), Ok(Location::Local("/home/me/repo".into())));
        assert_eq!(parse("/mnt/x"), Ok(Location::Local("/mnt/x".into())));
        assert_eq!(parse("file:///mnt/x"), Ok(Location::Local("/mnt/x".into())));
        assert_eq!(parse("gs://b"), Err(LocationError::Scheme("gs://".into())));
        assert_eq!(parse(""), Err(LocationError::Empty));
    }

    #[test]
    fn what_only_restic_has_is_refused_with_what_to_write() {
        for text in ["rest:http://h/x", "rest:https://me:canary@h/x", "s3:https://canary@host/bucket/x"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, LocationError::OnlyRestic(_)), "{text}: {error}");
            assert!(error.hint().contains("`restic:` before it") && !error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn buckets_and_hosts_are_read_and_shown_as_they_were_written() {
        for text in [
            "s3://bucket",
            "s3://bucket/host1/bk",
            "b2://bucket/x",
            "webdavs://me@host:8443/dav/bk",
            "sftp://me@host:2222/srv/bk",
            "sftp://host/~/bk",
            "sftp://[::1]:22/x",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("s3://bucket/host1/").unwrap().to_string(), "s3://bucket/host1");
        assert!(!parse("sftp://host/x").unwrap().has_buckets());
        assert!(parse("b2://bucket/x").unwrap().has_buckets() && !parse("webdav://h/x").unwrap().has_buckets());
    }

    #[test]
    fn a_secret_in_a_location_is_refused_and_not_repeated() {
        for text in
            ["s3://key:canary@bucket/x", "s3://canary@bucket", "webdavs://me:canary@host/x", "sftp://me:canary@host/x"]
        {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, LocationError::Wrong { .. }), "{error}");
            assert!(!format!("{error}{error:?}{}", error.hint()).contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_port_of_a_host_is_read_and_nothing_else_is_one() {
        let place = |text: &str| match parse(text).unwrap() {
            Location::Remote(remote) => {
                let (host, port) = remote.host_and_port();
                (host.to_owned(), port)
            }
            Location::Local(_) => panic!("{text} is remote"),
        };
        assert_eq!(place("sftp://me@host/x"), ("host".into(), None));
        assert_eq!(place("sftp://host:2222/x"), ("host".into(), Some(2222)));
        assert_eq!(place("sftp://[fe80::1]/x"), ("fe80::1".into(), None));
        assert_eq!(place("sftp://[fe80::1]:22/x"), ("fe80::1".into(), Some(22)));
        for text in ["sftp://host:x/y", "sftp://host:0/y", "sftp://host:99999/y", "sftp://[::1]x/y"] {
            assert!(matches!(parse(text), Err(LocationError::Wrong { .. })), "{text}");
        }
    }

    #[test]
    fn nothing_in_a_location_is_an_option_of_ssh_and_a_folder_is_named() {
        for text in ["sftp://-oProxyCommand=x/y", "sftp://-l@host/x", "sftp://host", "sftp://host/"] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, LocationError::Wrong { .. }) && error.hint().contains("sftp://"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_bucket_or_path_is_refused() {
        assert_eq!(parse("s3:///x"), Err(LocationError::NoPlace { scheme: "s3", what: "a bucket" }));
        for text in ["s3://b/../c", "s3://b/x//y", "s3://b/x?y", "webdav://h/a b"] {
            assert!(matches!(parse(text), Err(LocationError::Wrong { .. })), "{text}");
        }
    }
}
