//! Repositories that are not in the format of bk: what they are written in, what opens them, and that none of them
//! stands alone.

use toml::Spanned;

use super::config::{Config, RepositoryPassword};
use super::error::ConfigError;
use super::origin::{Origin, Place};
use super::raw::{RawRepository, Typed};
use super::scope::Scope;
use crate::store::Format;

const OWN_HINT: &str = "name one that bk writes itself as well: restic's format is a copy to fall back on, and has \
                        neither pins nor proofs";

/// What a repository is written in, and its location without the format.
pub(super) fn read_format<'a>(
    location: &'a Spanned<String>,
    raw: &RawRepository,
    scope: &mut Scope<'_>,
) -> Result<(Format, &'a str), ConfigError> {
    let (prefix, place) = Format::split(location.get_ref());
    let said = scope.value("format", &raw.format)?;
    let said = said.map(|word| if word == Format::Restic.word() { Format::Restic } else { Format::Bk });
    match (prefix, said) {
        (Format::Restic, Some(Format::Bk)) => {
            let problem = "begins with `restic:`, and `format` says \"bk\"".to_owned();
            Err(scope.wrong("location", location.span(), (problem, "keep what is right of the two")))
        }
        (prefix, said) => Ok((said.unwrap_or(prefix), place)),
    }
}

/// Where the password of a repository comes from that is not opened as the family is.
pub(super) fn read_password(
    raw: &RawRepository,
    format: Format,
    scope: &mut Scope<'_>,
) -> Result<Option<RepositoryPassword>, ConfigError> {
    if format == Format::Bk {
        let span = |typed: &Typed<String>| typed.as_ref().map(Spanned::span);
        let said = [
            ("password-file", span(&raw.password_file)),
            ("password-command", raw.password_command.as_ref().map(Spanned::span)),
        ];
        return match said.into_iter().find_map(|(key, span)| Some((key, span?))) {
            Some((key, span)) => {
                let problem = "is for repositories in restic's format: all others share one password or key".to_owned();
                let hint = "say it in [family]; or add `format = \"restic\"`, if that is what this repository is";
                Err(scope.wrong(key, span, (problem, hint)))
            }
            None => Ok(None),
        };
    }
    let file = scope.path("password-file", &raw.password_file)?;
    let command = scope.list("password-command", &raw.password_command, |_| Ok(()))?;
    if let (Some(command), Some(typed)) = (&command, &raw.password_command) {
        if command.first().is_none_or(String::is_empty) {
            let hint = "write the program and its arguments: `password-command = [\"pass\", \"show\", \"restic\"]`";
            return Err(scope.wrong("password-command", typed.span(), ("names no program".to_owned(), hint)));
        }
        if file.is_some() {
            let problem = "says in more than one way what opens it: `password-file` and `password-command`";
            return Err(scope.section_wrong(typed.span(), problem, "keep one of them"));
        }
    }
    Ok(file.map(RepositoryPassword::File).or(command.map(RepositoryPassword::Command)))
}

/// Refuses profiles, and defaults, that back up to repositories in restic's format only: those are filled from one of
/// bk's own.
pub(super) fn some_of_our_own(config: &Config) -> Result<(), ConfigError> {
    if !config.defaults.to.is_empty() {
        check(config, &config.defaults.to, "defaults")?;
    }
    for profile in config.profiles.values() {
        check(config, &profile.to, &format!("profile.{}", profile.name))?;
    }
    Ok(())
}

fn check(config: &Config, to: &[String], section: &str) -> Result<(), ConfigError> {
    let is_own = |name: &String| config.repositories.get(name).is_none_or(|known| known.format == Format::Bk);
    let Some(first) = to.first().filter(|_| !to.iter().any(is_own)) else { return Ok(()) };
    let problem = format!("names only repositories in restic's format (`{}`)", to.join("`, `"));
    let wrong = |place: Place, key: &str, section: &str, problem| ConfigError::Value {
        place,
        key: key.to_owned(),
        section: format!("[{section}]"),
        problem,
        hint: OWN_HINT,
    };
    if let Origin::File(place) = config.origin(&format!("{section}.to")) {
        return Err(wrong(place, "to", section, problem));
    }
    // Nobody named them: they are all that there are.
    let problem = format!("leaves [{section}] nothing but repositories in restic's format to back up to");
    let of_repository = |key: &str| config.origins.get(&format!("repository.{first}{key}"));
    match of_repository(".format").or_else(|| of_repository(".location")) {
        Some(Origin::File(place)) => Err(wrong(place.clone(), "format", &format!("repository.{first}"), problem)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::config::Repository;
    use super::super::files::{Environment, Source, Text};
    use super::super::{check as check_text, resolve};
    use super::*;

    fn read(content: &str) -> Result<Config, (String, String)> {
        let text = Text { file: Arc::new("/bk.toml".into()), content: content.to_owned() };
        let told = |error: ConfigError| (error.to_string(), error.hint().into_owned());
        let raw = check_text::parse(&text).map_err(told)?;
        resolve::resolve(&[Source { text, raw }], &Environment::default()).map_err(told)
    }

    fn escape(lines: &str) -> Result<Repository, (String, String)> {
        read(&format!("[repository.escape]\n{lines}")).map(|config| config.repositories["escape"].clone())
    }

    const BOTH: &str = "[repository.ssd]\nlocation = \"/ssd\"\n[repository.escape]\nformat = \"restic\"\n\
                        location = \"/mnt/restic\"\n";

    #[test]
    fn a_repository_is_of_restic_when_its_format_or_its_location_says_so() {
        for lines in [
            "location = \"/mnt/restic\"\nformat = \"restic\"",
            "location = \"restic:/mnt/restic\"\nformat = \"restic\"",
            "location = \"restic:/mnt/restic\"",
        ] {
            let repository = escape(lines).unwrap();
            assert_eq!((repository.format, repository.location.as_str()), (Format::Restic, "/mnt/restic"), "{lines}");
        }
        for lines in ["location = \"/mnt/bk\"", "location = \"/mnt/bk\"\nformat = \"bk\""] {
            assert_eq!(escape(lines).unwrap().format, Format::Bk);
        }
        let (message, hint) = escape("location = \"restic:/x\"\nformat = \"bk\"").unwrap_err();
        let expected = "`location` in [repository.escape] begins with `restic:`, and `format` says \"bk\"";
        assert_eq!(message, format!("/bk.toml:2: {expected}"));
        assert!(!hint.is_empty());
        let (message, _) = escape("location = \"/x\"\nformat = \"borg\"").unwrap_err();
        assert_eq!(
            message,
            "/bk.toml:3: `format` in [repository.escape] must be one of \"bk\", \"restic\", not \"borg\""
        );
        let (message, _) = escape("location = \"restic:x\"").unwrap_err();
        assert_eq!(message, "/bk.toml:2: `location` in [repository.escape] is `x`, which is not an absolute path");
    }

    #[test]
    fn only_a_repository_in_restics_format_has_a_password_of_its_own_and_one() {
        let of = |lines: &str| escape(&format!("location = \"restic:/x\"\n{lines}")).map(|one| one.password);
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("password-file = \"/p\""), Ok(Some(RepositoryPassword::File("/p".into()))));
        let command = RepositoryPassword::Command(vec!["pass".into(), "x".into()]);
        assert_eq!(of("password-command = [\"pass\", \"x\"]"), Ok(Some(command)));
        let cases = [
            ("password-command = []", "`password-command` in [repository.escape] names no program"),
            ("password-file = \"p\"", "`password-file` in [repository.escape] is `p`, which is not an absolute path"),
        ];
        for (line, message) in cases {
            assert_eq!(of(line).unwrap_err().0, format!("/bk.toml:3: {message}"));
        }
        let (message, _) = of("password-file = \"/p\"\npassword-command = [\"x\"]").unwrap_err();
        assert!(message.starts_with("/bk.toml:4: [repository.escape] says in more than one way"), "{message}");
        for (key, value) in [("password-file", "\"/p\""), ("password-command", "[\"pass\"]")] {
            let (message, hint) = escape(&format!("location = \"/x\"\n{key} = {value}")).unwrap_err();
            let expected = "is for repositories in restic's format: all others share one password or key";
            assert_eq!(message, format!("/bk.toml:3: `{key}` in [repository.escape] {expected}"));
            assert!(hint.contains("[family]"), "{hint}");
        }
    }

    #[test]
    fn a_to_without_a_repository_of_our_own_is_refused_with_its_line() {
        let profile = format!("{BOTH}[profile.a]\nroot = \"/a\"\n");
        assert_eq!(read(&profile).unwrap().profiles["a"].to, ["ssd"], "nobody said that it may be written to");
        assert!(read(&format!("{profile}to = [\"ssd\", \"escape\"]\n")).is_ok());
        let problem = "names only repositories in restic's format (`escape`)";
        let (message, hint) = read(&format!("{profile}to = [\"escape\"]\n")).unwrap_err();
        assert_eq!(message, format!("/bk.toml:8: `to` in [profile.a] {problem}"));
        assert!(!hint.is_empty());
        let (message, _) = read(&format!("{BOTH}[defaults]\nto = [\"escape\"]\n")).unwrap_err();
        assert_eq!(message, format!("/bk.toml:7: `to` in [defaults] {problem}"));
        let used = format!("{profile}to = [\"ssd\"]\n[profile.b]\nuse = \"a\"\nto = [\"escape\"]\n");
        assert_eq!(read(&used).unwrap_err().0, format!("/bk.toml:11: `to` in [profile.b] {problem}"));
    }

    #[test]
    fn a_profile_that_gets_all_repositories_needs_one_of_our_own_among_them() {
        let alone = "[repository.escape]\nlocation = \"/x\"\nformat = \"restic\"\n";
        assert!(read(alone).is_ok(), "to be read, it needs no other");
        let (message, hint) = read(&format!("{alone}[profile.a]\nroot = \"/a\"\n")).unwrap_err();
        let problem = "leaves [profile.a] nothing but repositories in restic's format to back up to";
        assert_eq!(message, format!("/bk.toml:3: `format` in [repository.escape] {problem}"));
        assert!(!hint.is_empty());
    }

    #[test]
    fn no_check_of_packs_is_promised_of_a_repository_in_restics_format() {
        let (message, hint) = read(&format!(
            "{BOTH}[schedule]\ncheck = {{ at = \"0 5 * * 0\", ssd = \"whole in 7d\", escape = \"whole in 7d\" }}\n"
        ))
        .unwrap_err();
        assert!(message.contains("`escape` in [schedule.check]") && message.contains("restic's format"), "{message}");
        assert!(hint.contains("--read-data"), "{hint}");
        let structure = "[schedule]\ncheck = { at = \"0 5 * * 0\", escape = \"structure\" }\n";
        assert!(read(&format!("{BOTH}{structure}")).is_ok());
    }

    #[test]
    fn what_is_written_down_says_the_format_and_no_secret() {
        let config = read(&format!("{BOTH}password-command = [\"pass\", \"hunter2\"]\n")).unwrap();
        let written = config.definition();
        assert!(written.contains("format = \"restic\"") && written.contains("location = \"/mnt/restic\""), "{written}");
        assert!(written.contains("password-command = [\"pass\", \"***\"]"), "{written}");
        assert_eq!(written.matches("format").count(), 1, "of bk it is the default: {written}");
        let again = read(&written).unwrap();
        assert_eq!(again.repositories["escape"].format, Format::Restic);
    }
}
