//! What a remote store is opened with. Never shown, and wiped when it goes.

use std::fmt;

use zeroize::Zeroizing;

/// An access key, or a user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key's id, or the user.
    pub id: Zeroizing<String>,
    /// The secret, or the password.
    pub secret: Zeroizing<String>,
    /// The token of a session that ends.
    pub token: Option<Zeroizing<String>>,
}

/// A text that holds no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A line of something else. The line itself may be a secret.
    #[error("line {0} is not NAME=VALUE")]
    Line(usize),
    /// The same name a second time, as in a file with several profiles.
    #[error("line {0} says again what was said before; one access key belongs into the file")]
    Again(usize),
    /// Several access keys, under more than one title; the line of the last of them.
    #[error("it has several sections, the last of them from line {0}; one access key belongs into the file")]
    Sections(usize),
    /// The section that was asked for is not there.
    #[error("it has no such section")]
    NoSection,
    /// A part is missing.
    #[error("it has no {0}")]
    Lacks(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Id,
    Secret,
    Token,
}

fn part(name: &str) -> Option<Part> {
    match name.to_ascii_lowercase().as_str() {
        "aws_access_key_id" | "b2_application_key_id" | "b2_account_id" | "username" => Some(Part::Id),
        "aws_secret_access_key" | "b2_application_key" | "b2_account_key" | "password" => Some(Part::Secret),
        "aws_session_token" => Some(Part::Token),
        _ => None,
    }
}

/// What a line is.
enum Line<'a> {
    Nothing,
    Section(&'a str),
    Pair(&'a str, &'a str),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Some(Self::Nothing);
        }
        if let Some(title) = line.strip_prefix('[') {
            let (name, _) = title.split_once(']')?;
            return Some(Self::Section(name.trim()));
        }
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        Some(Self::Pair(name.trim(), unquoted(value.trim())))
    }
}

/// What was read so far.
#[derive(Default)]
struct Parts([Option<Zeroizing<String>>; 3]);

impl Parts {
    fn take(&mut self, name: &str, value: &str, line: usize) -> Result<(), CredentialsError> {
        // Others, such as a region, have their place in the configuration.
        let Some(part) = part(name) else { return Ok(()) };
        match self.0.get_mut(part as usize).map(|place| place.replace(Zeroizing::new(value.to_owned()))) {
            Some(Some(_)) => Err(CredentialsError::Again(line)),
            _ => Ok(()),
        }
    }

    fn credentials(self) -> Result<Credentials, CredentialsError> {
        let [id, secret, token] = self.0.map(|value| value.filter(|value| !value.is_empty()));
        Ok(Credentials {
            id: id.ok_or(CredentialsError::Lacks("AWS_ACCESS_KEY_ID"))?,
            secret: secret.ok_or(CredentialsError::Lacks("AWS_SECRET_ACCESS_KEY"))?,
            token,
        })
    }
}

impl Credentials {
    /// Puts them together.
    #[must_use]
    pub fn new(id: String, secret: String, token: Option<String>) -> Self {
        Self { id: Zeroizing::new(id), secret: Zeroizing::new(secret), token: token.map(Zeroizing::new) }
    }

    /// Reads a file of `NAME=VALUE` lines, as for the environment or of the AWS command line, with one access key.
    ///
    /// # Errors
    /// [`CredentialsError`], which repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let mut parts = Parts::default();
        let mut section = 0;
        for (at, line) in text.lines().enumerate() {
            match Line::of(line).ok_or(CredentialsError::Line(at + 1))? {
                Line::Nothing => {}
                Line::Section(_) => section = at + 1,
                Line::Pair(name, value) => parts.take(name, value, at + 1).map_err(|error| {
                    // A second access key under a title of its own is no mistake of that file.
                    if section > 0 { CredentialsError::Sections(section) } else { error }
                })?,
            }
        }
        parts.credentials()
    }

    /// Reads one section of the credentials file of the AWS command line.
    ///
    /// # Errors
    /// [`CredentialsError`], which repeats nothing of the text.
    pub fn parse_section(text: &str, section: &str) -> Result<Self, CredentialsError> {
        let mut parts = None;
        let mut inside = false;
        for (at, line) in text.lines().enumerate() {
            match Line::of(line) {
                Some(Line::Section(name)) => {
                    inside = name == section.trim();
                    if inside && parts.replace(Parts::default()).is_some() {
                        return Err(CredentialsError::Again(at + 1));
                    }
                }
                Some(Line::Pair(name, value)) if inside => {
                    parts.get_or_insert_default().take(name, value, at + 1)?;
                }
                None if inside => return Err(CredentialsError::Line(at + 1)),
                _ => {}
            }
        }
        parts.ok_or(CredentialsError::NoSection)?.credentials()
    }

    /// The text without any of the parts in it.
    pub(super) fn scrub(&self, text: &str) -> String {
        let parts = [Some(&self.secret), self.token.as_ref(), Some(&self.id)];
        let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
        parts.fold(text.to_owned(), |text, part| text.replace(part.as_str(), "(left out)"))
    }
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_people_have_are_read() {
        let expected = Credentials::new("AK".into(), "S=K".into(), None);
        for text in [
            "AWS_ACCESS_KEY_ID=AK\nAWS_SECRET_ACCESS_KEY=S=K\n",
            "# mine\nexport AWS_ACCESS_KEY_ID=\"AK\"\nexport AWS_SECRET_ACCESS_KEY='S=K'\nAWS_REGION=x\n",
            "[default]\naws_access_key_id = AK\naws_secret_access_key = S=K\n",
            "B2_APPLICATION_KEY_ID=AK\r\nB2_APPLICATION_KEY=S=K",
        ] {
            assert_eq!(Credentials::parse(text), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        let cases = [
            ("AWS_ACCESS_KEY_ID=AK\ncanary\n", CredentialsError::Line(2)),
            ("AWS_ACCESS_KEY_ID=canary\n", CredentialsError::Lacks("AWS_SECRET_ACCESS_KEY")),
            ("AWS_SECRET_ACCESS_KEY=canary\n", CredentialsError::Lacks("AWS_ACCESS_KEY_ID")),
            ("username=a\nusername=canary\n", CredentialsError::Again(2)),
            ("[a]\nusername=a\n[canary]\nusername=canary\n", CredentialsError::Sections(3)),
        ];
        for (text, expected) in cases {
            let error = Credentials::parse(text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn one_section_of_several_is_read_and_what_others_hold_does_not_matter() {
        let text = "[default]\naws_access_key_id=canary-1\n[ backup ]\naws_access_key_id = AK\n\
            aws_secret_access_key = S=K\nregion = x\n[broken]\nno pair\n[half]\naws_access_key_id=canary-2\n";
        assert_eq!(Credentials::parse_section(text, "backup"), Ok(Credentials::new("AK".into(), "S=K".into(), None)));
        let cases = [
            ("absent", CredentialsError::NoSection),
            ("broken", CredentialsError::Line(8)),
            ("half", CredentialsError::Lacks("AWS_SECRET_ACCESS_KEY")),
        ];
        for (section, expected) in cases {
            assert_eq!(Credentials::parse_section(text, section), Err(expected), "{section}");
        }
        let twice = "[a]\nusername=x\n[b]\n[a]\npassword=canary\n";
        assert_eq!(Credentials::parse_section(twice, "a"), Err(CredentialsError::Again(4)));
    }

    #[test]
    fn neither_debug_nor_a_message_shows_them() {
        let credentials = Credentials::new("id-canary".into(), "secret-canary".into(), Some("token-canary".into()));
        assert!(!format!("{credentials:?}").contains("canary"));
        assert_eq!(credentials.scrub("a secret-canary id-canary token-canary"), "a (left out) (left out) (left out)");
    }
}
