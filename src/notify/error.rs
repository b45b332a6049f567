//! What can go wrong when somebody is told. No variant holds a URL, a token or a password.

use std::path::PathBuf;

use crate::source::command::CommandError;

/// Why a channel was not told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A file that the channel needs cannot be read.
    #[error("[notify.{channel}]: {} of `{key}` cannot be read", path.display())]
    File {
        /// Name of the channel.
        channel: String,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in a file cannot be used.
    #[error("[notify.{channel}]: {} of `{key}` {problem}", path.display())]
    Content {
        /// Name of the channel.
        channel: String,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence; repeats nothing of a secret.
        problem: String,
        /// The next step.
        hint: String,
    },
    /// Something of this machine that sending needs is not there.
    #[error("[notify.{channel}]: nothing can be sent: {problem}")]
    Prepare {
        /// Name of the channel.
        channel: String,
        /// What is missing.
        problem: String,
    },
    /// Nobody answered.
    #[error("[notify.{channel}]: {host} cannot be reached: {problem}")]
    NotReached {
        /// Name of the channel.
        channel: String,
        /// The host, and the port when it was said.
        host: String,
        /// What the system said.
        problem: String,
    },
    /// It is not certain who answered.
    #[error("[notify.{channel}]: {host} has no certificate that can be trusted: {problem}")]
    Certificate {
        /// Name of the channel.
        channel: String,
        /// The host, and the port when it was said.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It took too long.
    #[error("[notify.{channel}]: {host} did not take it within {seconds} s")]
    TimeLimit {
        /// Name of the channel.
        channel: String,
        /// The host, and the port when it was said.
        host: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The server does not want it.
    #[error("[notify.{channel}]: {host} refuses it with {status}{}", said(words))]
    Refused {
        /// Name of the channel.
        channel: String,
        /// The host, and the port when it was said.
        host: String,
        /// The code of HTTP or SMTP.
        status: u16,
        /// The server's words, cut and without secrets.
        words: String,
        /// The next step.
        hint: &'static str,
    },
    /// What should be sent is no mail.
    #[error("[notify.{channel}]: no mail can be made: {problem}")]
    Mail {
        /// Name of the channel.
        channel: String,
        /// What is wrong.
        problem: String,
    },
    /// The program of the user failed.
    #[error("[notify.{channel}]: the program failed{}", said(words))]
    Program {
        /// Name of the channel.
        channel: String,
        /// The last line that it wrote to its standard error.
        words: String,
        /// Why.
        source: CommandError,
    },
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

impl NotifyError {
    /// The message for where it is known already which channel it is about.
    #[must_use]
    pub fn without_channel(&self) -> String {
        let text = self.to_string();
        text.split_once("]: ").map_or(text.clone(), |(_, rest)| rest.to_owned())
    }

    /// The next step for the user, printed under the message as `hint: …`.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::File { .. } => "check the path, and that the user who runs bk may read the file".to_owned(),
            Self::Content { hint, .. } => hint.clone(),
            Self::Prepare { .. } => {
                "check that the certificates of the system are installed (ca-certificates)".to_owned()
            }
            Self::NotReached { .. } => "check the host in its section, the network and the name server".to_owned(),
            Self::Certificate { .. } => {
                "check its name and its time; a certificate authority of your own belongs into `ca-file`".to_owned()
            }
            Self::TimeLimit { .. } => {
                "look whether the server is overloaded, or something on the way drops it".to_owned()
            }
            Self::Refused { hint, .. } => (*hint).to_owned(),
            Self::Mail { .. } => "check `from` and `to` in its section".to_owned(),
            Self::Program { source, .. } => source.hint().to_owned(),
        }
    }
}
