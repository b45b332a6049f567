//! What opens a place, read when it is needed, and kept out of what is said about that place.

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::NotifyError;
use super::words::line;

/// More is no secret but a mistake, in bytes.
const LONGEST: u64 = 64 << 10;

/// The longest of somebody else's words that are repeated, in characters.
pub(super) const LONGEST_WORDS: usize = 200;

/// The bytes of a file that a channel names.
pub(super) fn file(channel: &str, key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, NotifyError> {
    let failed = |source| NotifyError::File { channel: channel.to_owned(), key, path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(content(channel, key, path, "is larger than 64 KiB", "name the right file"));
    }
    Ok(bytes)
}

/// The secret in a file, without what is white around it.
pub(super) fn read(channel: &str, key: &'static str, path: &Path) -> Result<Zeroizing<String>, NotifyError> {
    let bytes = file(channel, key, path)?;
    let wrong = |problem| content(channel, key, path, problem, "write the secret, and nothing else, into it");
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is no text"))?.trim();
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    if text.contains(char::is_control) {
        return Err(wrong("has more than one line"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

pub(super) fn content(channel: &str, key: &'static str, path: &Path, problem: &str, hint: &str) -> NotifyError {
    let (problem, hint) = (problem.to_owned(), hint.to_owned());
    NotifyError::Content { channel: channel.to_owned(), key, path: path.to_owned(), problem, hint }
}

/// What must not be repeated: servers like to say what they were asked.
#[derive(Default)]
pub(super) struct Secrets(Vec<Zeroizing<String>>);

impl Secrets {
    /// Shorter texts are no secrets, and would take apart every sentence.
    const SHORTEST: usize = 4;

    pub fn add(&mut self, text: &str) {
        if text.len() >= Self::SHORTEST {
            self.0.push(Zeroizing::new(text.to_owned()));
            // Whole before its parts.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// All of a URL behind its host, together and in parts.
    pub fn add_url(&mut self, url: &reqwest::Url) {
        let (path, query) = (url.path(), url.query().unwrap_or_default());
        for part in path.split('/').chain(query.split(['&', '='])).chain([path, query]) {
            self.add(part);
        }
    }

    /// Somebody else's words in one line, cut, and without secrets.
    pub fn words(&self, text: &str) -> String {
        let text = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "(left out)"));
        line(&text, LONGEST_WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_secret_is_left_out() {
        let mut secrets = Secrets::default();
        secrets.add_url(&"https://h/api/webhooks/12345/canary-token?auth=canary-2&x=1".parse().unwrap());
        secrets.add("canary-header");
        let said =
            "The URL /api/webhooks/12345/canary-token was not found; canary-2 canary-token\u{1b}[1m canary-header x=1";
        let words = secrets.words(said);
        assert!(!words.contains("canary") && !words.contains('\u{1b}') && words.contains("was not found"), "{words}");
        assert_eq!(secrets.words(&"é".repeat(300)).chars().count(), LONGEST_WORDS);
    }

    #[test]
    fn a_file_that_holds_no_secret_is_told_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (bytes, problem) in [
            (b" \n".to_vec(), "is empty"),
            (b"\xff\xfe".to_vec(), "is no text"),
            (b"canary\ncanary".to_vec(), "has more than one line"),
            (vec![b'c'; 70_000], "is larger than 64 KiB"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read("chat", "token-file", &path).unwrap_err();
            assert_eq!(error.to_string(), format!("[notify.chat]: {} of `token-file` {problem}", path.display()));
            assert!(!format!("{error:?}").contains("canary"));
        }
        std::fs::write(&path, " tk_x\r\n").unwrap();
        assert_eq!(read("chat", "token-file", &path).unwrap().as_str(), "tk_x");
        let error = read("chat", "token-file", Path::new("/nowhere/x")).unwrap_err();
        assert_eq!(error.to_string(), "[notify.chat]: /nowhere/x of `token-file` cannot be read");
    }
}
