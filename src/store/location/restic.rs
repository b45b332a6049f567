//! Places as restic writes them: its manual, "Preparing a new repository".

use std::path::Path;

use super::{Location, LocationError, Remote, Service, host_and_port};

/// What restic can reach and this program cannot.
const OTHERS: [&str; 5] = ["azure", "gs", "swift", "rclone", "opendal"];

/// Reads what stands after `restic:`: a path, what [`Location::parse`] reads, or what restic itself reads.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Location, LocationError> {
    for service in [Service::Rest, Service::Rests] {
        if let Some(rest) = text.strip_prefix(service.scheme()).and_then(|rest| rest.strip_prefix("://")) {
            return Remote::parse(service, rest).map(Location::Remote);
        }
    }
    match text.split_once(':').filter(|(_, rest)| !rest.starts_with("//")) {
        Some(("s3", rest)) => bucket(rest).map(Location::Remote),
        Some(("b2", rest)) => Remote::parse(Service::B2, &rest.replacen(':', "/", 1)).map(Location::Remote),
        Some(("sftp", rest)) => behind_ssh(rest).map(Location::Remote),
        Some(("local", rest)) => Ok(Location::Local(folder.join(rest))),
        Some(("rest", _)) => {
            let (scheme, problem) = (Service::Rests.scheme(), "has neither https:// nor http:// after `rest:`");
            Err(LocationError::Wrong { scheme, problem })
        }
        Some((word, _)) if OTHERS.contains(&word) => Err(LocationError::Scheme(format!("{word}:"))),
        _ => Location::parse(text, folder),
    }
}

/// `https://host:port/bucket/path`, or without the beginning: over TLS then.
fn bucket(text: &str) -> Result<Remote, LocationError> {
    let scheme = Service::S3.scheme();
    let wrong = |problem| LocationError::Wrong { scheme, problem };
    let (way, rest) = text.split_once("://").unwrap_or(("https", text));
    let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if !matches!(way, "http" | "https") {
        return Err(wrong("has a server that neither https:// nor http:// leads to"));
    }
    if host.contains('@') {
        return Err(wrong("has a user or key in it"));
    }
    if host.is_empty() {
        return Err(LocationError::NoPlace { scheme, what: "a host" });
    }
    if host.contains(|one: char| one.is_control() || one.is_whitespace() || "?#".contains(one)) {
        return Err(wrong("has blanks, `?` or `#` in it"));
    }
    if host_and_port(host).is_none() {
        return Err(wrong("has a port that is no number"));
    }
    let remote = Remote::parse(Service::S3, rest)?;
    Ok(Remote { endpoint: Some(format!("{way}://{host}")), ..remote })
}

/// `user@host:/path`, or `user@host:path` below the home of the login.
fn behind_ssh(text: &str) -> Result<Remote, LocationError> {
    let scheme = Service::Sftp.scheme();
    let wrong = |problem| LocationError::Wrong { scheme, problem };
    let (host, path) = text.split_once(':').ok_or_else(|| wrong("names no folder"))?;
    if !host.contains('@') && path.contains('@') {
        return Err(wrong("has a password in it"));
    }
    let path = match path.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None if path.is_empty() || path.starts_with('~') => path.to_owned(),
        None => format!("~/{path}"),
    };
    Remote::parse(Service::Sftp, &format!("{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse_as(Format::Restic, text, Path::new("/home/me"))
    }

    #[test]
    fn places_of_restic_are_read_and_shown_so_that_they_are_read_again() {
        let cases = [
            ("/mnt/x", "/mnt/x"),
            ("repo", "/home/me/repo"),
            ("local:repo", "/home/me/repo"),
            ("/mnt/a:b", "/mnt/a:b"),
            ("s3:https://host:9000/bucket/a/b", "s3:https://host:9000/bucket/a/b"),
            ("s3:http://127.0.0.1:9000/bucket/", "s3:http://127.0.0.1:9000/bucket"),
            ("s3:s3.amazonaws.com/bucket/a", "s3:https://s3.amazonaws.com/bucket/a"),
            ("s3://bucket/a", "s3://bucket/a"),
            ("b2:bucket:a/b", "b2://bucket/a/b"),
            ("b2://bucket/a", "b2://bucket/a"),
            ("sftp:me@host:/srv/x", "sftp://me@host/srv/x"),
            ("sftp:host:x/y", "sftp://host/~/x/y"),
            ("sftp://me@host:22/srv/x", "sftp://me@host:22/srv/x"),
            ("sftp://me@host//srv/x", "sftp://me@host/srv/x"),
            ("webdavs://me@host/x", "webdavs://me@host/x"),
            ("rest:http://127.0.0.1:8000/", "rest:http://127.0.0.1:8000"),
            ("rest:https://me@host/a/b/", "rest:https://me@host/a/b"),
        ];
        for (text, shown) in cases {
            let location = parse(text).unwrap();
            assert_eq!(location.to_string(), shown);
            assert_eq!(parse(shown), Ok(location), "{text}");
        }
    }

    #[test]
    fn the_server_of_a_bucket_and_the_bucket_are_told_apart() {
        let Ok(Location::Remote(remote)) = parse("s3:host:9000/bucket/a") else { panic!("it is remote") };
        assert_eq!(remote.endpoint.as_deref(), Some("https://host:9000"));
        assert_eq!((remote.place.as_str(), remote.path.as_str(), remote.service), ("bucket", "a", Service::S3));
    }

    #[test]
    fn a_secret_is_refused_and_not_repeated() {
        for text in [
            "s3:https://key:canary@host/bucket",
            "s3:canary@host/bucket",
            "sftp:me:canary@host:/x",
            "rest:https://me:canary@host/x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error}{error:?}{}", error.hint()).contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_reached_or_names_no_place_is_refused() {
        assert_eq!(parse("rclone:x:y"), Err(LocationError::Scheme("rclone:".into())));
        assert_eq!(parse("gs:bucket:/x"), Err(LocationError::Scheme("gs:".into())));
        assert_eq!(parse(""), Err(LocationError::Empty));
        assert_eq!(parse("s3:host"), Err(LocationError::NoPlace { scheme: "s3", what: "a bucket" }));
        assert_eq!(parse("s3:https:///b"), Err(LocationError::NoPlace { scheme: "s3", what: "a host" }));
        assert_eq!(parse("rest:http:///b"), Err(LocationError::NoPlace { scheme: "rest:http", what: "a host" }));
        for text in
            ["rest:host/x", "s3:ftp://host/b", "s3:host:x/b", "s3:h?st/b", "sftp:host", "sftp:host:", "sftp:-oX@h:/x"]
        {
            assert!(matches!(parse(text), Err(LocationError::Wrong { .. })), "{text}");
        }
    }
}
