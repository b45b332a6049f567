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

impl Credentials {
    /// Puts them together.
    #[must_use]
    pub fn new(id: String, secret: String, token: Option<String>) -> Self {
        Self { id: Zeroizing::new(id), secret: Zeroizing::new(secret), token: token.map(Zeroizing::new) }
    }

    /// Reads a file of `NAME=VALUE` lines, as for the environment or of the AWS command line.
    ///
    /// # Errors
    /// [`CredentialsError`], which repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let mut parts: [Option<Zeroizing<String>>; 3] = [None, None, None];
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';', '[']) {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').ok_or(CredentialsError::Line(at + 1))?;
            // Others, such as a region, have their place in the configuration.
            let Some(part) = part(name.trim()) else { continue };
            let value = unquoted(value.trim());
            if let Some(place) = parts.get_mut(part as usize)
                && place.replace(Zeroizing::new(value.to_owned())).is_some()
            {
                return Err(CredentialsError::Again(at + 1));
            }
        }
        let [id, secret, token] = parts;
        let given = |value: Option<Zeroizing<String>>| value.filter(|value| !value.is_empty());
        Ok(Self {
            id: given(id).ok_or(CredentialsError::Lacks("AWS_ACCESS_KEY_ID"))?,
            secret: given(secret).ok_or(CredentialsError::Lacks("AWS_SECRET_ACCESS_KEY"))?,
            token: given(token),
        })
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
            ("username=a\n[b]\nusername=canary\n", CredentialsError::Again(3)),
        ];
        for (text, expected) in cases {
            let error = Credentials::parse(text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn neither_debug_nor_a_message_shows_them() {
        let credentials = Credentials::new("id-canary".into(), "secret-canary".into(), Some("token-canary".into()));
        assert!(!format!("{credentials:?}").contains("canary"));
        assert_eq!(credentials.scrub("a secret-canary id-canary token-canary"), "a (left out) (left out) (left out)");
    }
}
