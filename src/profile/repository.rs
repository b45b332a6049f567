//! One `[repository.NAME]`: where it is, how its server is spoken to, and what opens that server.

use std::ops::Range;

use toml::Spanned;

use super::config::{Login, Repository};
use super::dumps::duration;
use super::error::ConfigError;
use super::formats::{read_format, read_password};
use super::raw::{RawRepository, Typed};
use super::resolve::read_keep;
use super::scope::{Scope, location};
use crate::size::ByteSize;
use crate::store::Stop;
use crate::store::remote::Settings;

/// Less would be a mistake in the unit: a pack would take hours.
const LEAST_LIMIT: u64 = 1 << 10;

pub(super) fn read_repository(
    name: &str,
    raw: &RawRepository,
    section: Range<usize>,
    scope: &mut Scope<'_>,
) -> Result<Repository, ConfigError> {
    let Some(typed) = &raw.location else {
        return Err(scope.section_wrong(
            section,
            "has no `location`",
            "say where it is: `location = \"/mnt/disk/bk\"`",
        ));
    };
    let (format, place) = read_format(typed, raw, scope)?;
    location(place).map_err(|problem| scope.wrong("location", typed.span(), problem))?;
    scope.claim("location", typed.span())?;
    Ok(Repository {
        name: name.to_owned(),
        location: place.to_owned(),
        format,
        password: read_password(raw, format, scope)?,
        require_mount: scope.path("require-mount", &raw.require_mount)?,
        min_free_bytes: scope.value("min-free", &raw.min_free)?.map(|size| size.0),
        remote: read_settings(raw, scope)?,
        login: read_login(raw, scope)?,
        keep: raw.keep.as_ref().map(|typed| read_keep("keep", typed, scope)).transpose()?,
    })
}

fn read_settings(raw: &RawRepository, scope: &mut Scope<'_>) -> Result<Settings, ConfigError> {
    let settings = Settings {
        endpoint: scope.value("endpoint", &raw.endpoint)?,
        region: scope.value("region", &raw.region)?,
        path_style: scope.value("path-style", &raw.path_style)?,
        storage_class: scope.value("storage-class", &raw.storage_class)?,
        sse: scope.value("sse", &raw.sse)?,
        sse_kms_key: scope.value("sse-kms-key", &raw.sse_kms_key)?,
        limit_upload: limit("limit-upload", &raw.limit_upload, scope)?,
        limit_download: limit("limit-download", &raw.limit_download, scope)?,
        retry_for: scope.value("retry-for", &raw.retry_for)?.as_deref().and_then(duration),
        ssh_options: scope.list("ssh-options", &raw.ssh_options, |_| Ok(()))?.unwrap_or_default(),
        stop: Stop::default(),
    };
    match &raw.sse_kms_key {
        Some(typed) if settings.sse.as_deref() != Some("aws:kms") => {
            let problem = ("has no meaning without `sse = \"aws:kms\"`".to_owned(), "add that, or remove it");
            Err(scope.wrong("sse-kms-key", typed.span(), problem))
        }
        _ => Ok(settings),
    }
}

/// A number of bytes per second.
fn limit(key: &str, typed: &Typed<ByteSize>, scope: &mut Scope<'_>) -> Result<Option<u64>, ConfigError> {
    let bytes = scope.value(key, typed)?.map(|size| size.0);
    match (bytes, typed) {
        (Some(bytes), Some(typed)) if bytes < LEAST_LIMIT => {
            let problem = format!("is {bytes} bytes a second, with which no backup ever ends");
            Err(scope.wrong(key, typed.span(), (problem, "write at least \"1KiB\", or remove it for no limit")))
        }
        _ => Ok(bytes),
    }
}

fn read_login(raw: &RawRepository, scope: &mut Scope<'_>) -> Result<Option<Login>, ConfigError> {
    let file = scope.path("credentials-file", &raw.credentials_file)?.map(Login::File);
    let command = scope.list("credentials-command", &raw.credentials_command, |_| Ok(()))?;
    if let (Some(command), Some(typed)) = (&command, &raw.credentials_command)
        && command.first().is_none_or(String::is_empty)
    {
        let hint = "write the program and its arguments: `credentials-command = [\"pass\", \"show\", \"b2\"]`";
        return Err(scope.wrong("credentials-command", typed.span(), ("names no program".to_owned(), hint)));
    }
    let profile = scope.value("aws-profile", &raw.aws_profile)?;
    if let (Some(profile), Some(typed)) = (&profile, &raw.aws_profile)
        && (profile.trim().is_empty() || profile.contains(['[', ']']) || profile.contains(char::is_control))
    {
        let problem = ("is no name of a section".to_owned(), "write it as in ~/.aws/credentials, without the brackets");
        return Err(scope.wrong("aws-profile", typed.span(), problem));
    }
    let spans = [
        ("credentials-file", raw.credentials_file.as_ref().map(Spanned::span)),
        ("credentials-command", raw.credentials_command.as_ref().map(Spanned::span)),
        ("aws-profile", raw.aws_profile.as_ref().map(Spanned::span)),
    ];
    let said = || spans.iter().filter_map(|(name, span)| span.clone().map(|span| (name, span)));
    let names: Vec<String> = said().map(|(name, _)| format!("`{name}`")).collect();
    match said().map(|(_, span)| span).max_by_key(|span| span.start) {
        Some(span) if names.len() > 1 => {
            let problem = format!("says in more than one way what opens its server: {}", names.join(" and "));
            Err(scope.section_wrong(span, &problem, "keep one of them"))
        }
        _ => Ok(file.or(command.map(Login::Command)).or(profile.map(Login::AwsProfile))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Text;
    use super::super::{check, origin::Origins};
    use super::*;

    fn read(lines: &str) -> Result<Repository, (String, String)> {
        let content = format!("[repository.far]\nlocation = \"s3://b/x\"\n{lines}");
        let text = Text { file: std::sync::Arc::new("/bk.toml".into()), content };
        let told = |error: ConfigError| (error.to_string(), error.hint().into_owned());
        let raw = check::parse(&text).map_err(told)?;
        let mut origins = Origins::default();
        let mut scope = Scope::named("repository", "far", &text, &mut origins);
        let far = &raw.repository["far"];
        read_repository("far", far.get_ref(), far.span(), &mut scope).map_err(told)
    }

    #[test]
    fn what_opens_the_server_is_said_in_one_way() {
        let login = |lines| read(lines).unwrap().login;
        assert_eq!(login(""), None);
        assert_eq!(login("credentials-file = \"/k\""), Some(Login::File("/k".into())));
        let command = Login::Command(vec!["pass".into(), "b2".into()]);
        assert_eq!(login("credentials-command = [\"pass\", \"b2\"]"), Some(command));
        assert_eq!(login("aws-profile = \"backup\""), Some(Login::AwsProfile("backup".into())));
        let cases = [
            (
                "credentials-file = \"/k\"\naws-profile = \"x\"",
                "/bk.toml:4: [repository.far] says in more than one way what opens its server: \
                 `credentials-file` and `aws-profile`",
            ),
            ("credentials-command = []", "/bk.toml:3: `credentials-command` in [repository.far] names no program"),
            ("aws-profile = \"[x]\"", "/bk.toml:3: `aws-profile` in [repository.far] is no name of a section"),
        ];
        for (lines, message) in cases {
            assert_eq!(read(lines).unwrap_err().0, message);
        }
    }

    #[test]
    fn limits_are_bytes_a_second_and_patience_is_a_time() {
        let lines = "limit-upload = \"5MiB\"\nlimit-download = 2000000\nretry-for = \"30min\"";
        let settings = read(lines).unwrap().remote;
        assert_eq!((settings.limit_upload, settings.limit_download), (Some(5 << 20), Some(2_000_000)));
        assert_eq!(settings.retry_for, Some(std::time::Duration::from_secs(1800)));
        for line in ["limit-upload = 0", "limit-download = 800"] {
            let (message, hint) = read(line).unwrap_err();
            assert!(message.contains("with which no backup ever ends") && hint.contains("1KiB"), "{message}");
        }
    }

    #[test]
    fn a_key_of_the_key_service_needs_that_service() {
        let lines = "sse = \"aws:kms\"\nsse-kms-key = \"alias/bk\"";
        assert_eq!(read(lines).unwrap().remote.sse_kms_key.as_deref(), Some("alias/bk"));
        for lines in ["sse-kms-key = \"k\"", "sse = \"AES256\"\nsse-kms-key = \"k\""] {
            assert!(read(lines).unwrap_err().0.contains("has no meaning without"), "{lines}");
        }
        assert!(read("sse = \"aes\"").unwrap_err().0.contains("one of \"AES256\", \"aws:kms\""));
    }
}
