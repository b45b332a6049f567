//! Why a repository behind SSH did not do what was asked, in the words of a user.

use std::io;

use openssh_sftp_client::Error;
use openssh_sftp_client::error::SftpErrorKind;

use crate::store::StoreError;

/// What is wrong with the way to a repository behind SSH, or with the server at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshTrouble {
    /// There is no such program.
    #[error("the program `ssh` is not installed")]
    NoSsh,
    /// An option or a file of configuration that it cannot use.
    #[error("ssh does not accept its options or its configuration")]
    Options,
    /// A host that was never connected to.
    #[error("the server's key is not known on this machine")]
    UnknownHost,
    /// A host that shows another key than before.
    #[error("the server shows another key than before")]
    ChangedHost,
    /// No key that the server wants.
    #[error("the server refuses the login")]
    Refused,
    /// The name has no address.
    #[error("there is no host of that name")]
    NoHost,
    /// Nothing listens there.
    #[error("nothing listens at the port of the server")]
    NobodyListens,
    /// No answer.
    #[error("the server does not answer")]
    Unreachable,
    /// Logged in, but there is no SFTP.
    #[error("the server offers no SFTP to this login")]
    NoSftp,
    /// Something else than SFTP came back.
    #[error("what answers there does not speak SFTP")]
    Gibberish,
    /// The connection ended.
    #[error("the connection was lost")]
    Lost,
    /// The file system says no.
    #[error("the login may not do that there")]
    Denied,
}

impl SshTrouble {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NoSsh => "install the OpenSSH client (package `openssh-client`)",
            Self::Options => "check `ssh-options` of the repository and ~/.ssh/config; `ssh` with them must connect",
            Self::UnknownHost => {
                "connect once by hand with `ssh`, as the same user of this machine, and accept the key if it is the \
                 server's"
            }
            Self::ChangedHost => {
                "find out why before anything else: somebody may stand in between; `ssh-keygen -R HOST` forgets the \
                 old key"
            }
            Self::Refused => {
                "put the public key of this user into ~/.ssh/authorized_keys of the login, or name the key with \
                 `ssh-options = [\"-i\", \"/path/of/key\"]`; a key with a passphrase needs an agent"
            }
            Self::NoHost => "check the host in `location`, and the network",
            Self::NobodyListens | Self::Unreachable | Self::Lost => {
                "check the network, the host and its port, then run the command again; what is stored already is used"
            }
            Self::NoSftp => "turn on `Subsystem sftp internal-sftp` in sshd_config of the server, or use another login",
            Self::Gibberish => {
                "see what `ssh` prints before anything else: a login script of the server must print nothing"
            }
            Self::Denied => "give the login the right to read and write the folder of the repository",
        }
    }

    /// Whether waiting may help; more may pass on a way that was open before.
    pub(super) const fn may_pass(self, reached: bool) -> bool {
        match self {
            Self::NobodyListens | Self::Lost => true,
            // Waiting for no answer has taken long already.
            Self::Unreachable | Self::NoHost => reached,
            _ => false,
        }
    }

    /// What ssh means with a line of its standard error.
    fn of_line(line: &str) -> Option<Self> {
        const MEANINGS: [(&str, SshTrouble); 21] = [
            ("REMOTE HOST IDENTIFICATION HAS CHANGED", SshTrouble::ChangedHost),
            ("Host key verification failed", SshTrouble::UnknownHost),
            ("Permission denied (", SshTrouble::Refused),
            ("Too many authentication failures", SshTrouble::Refused),
            ("Could not resolve hostname", SshTrouble::NoHost),
            ("Connection refused", SshTrouble::NobodyListens),
            ("Connection timed out", SshTrouble::Unreachable),
            ("Operation timed out", SshTrouble::Unreachable),
            ("No route to host", SshTrouble::Unreachable),
            ("Network is unreachable", SshTrouble::Unreachable),
            (" not responding", SshTrouble::Unreachable),
            ("subsystem request failed", SshTrouble::NoSftp),
            ("Bad configuration option", SshTrouble::Options),
            ("bad configuration options", SshTrouble::Options),
            ("Can't open user config", SshTrouble::Options),
            ("Bad owner or permissions on", SshTrouble::Options),
            ("unknown option --", SshTrouble::Options),
            ("illegal option --", SshTrouble::Options),
            ("command-line line 0", SshTrouble::Options),
            ("command-line: line 0", SshTrouble::Options),
            ("usage: ssh", SshTrouble::Options),
        ];
        MEANINGS.into_iter().find(|(words, _)| line.contains(words)).map(|(_, trouble)| trouble)
    }

    /// What ssh means with all that it said: the first line that is understood tells the cause of the later ones.
    pub(super) fn of_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        lines.into_iter().find_map(Self::of_line)
    }
}

/// Why one request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No such file.
    Missing,
    /// The name is taken.
    Exists,
    /// No room is left.
    Full,
    /// The file ends at `size`, before `end`.
    Short { size: u64, end: u64 },
    /// The server says no, in its words.
    Said(String),
    /// The server says that this login may not.
    Denied(String),
    /// The way to the server is broken: the request may have been done or not.
    Broken(SshTrouble, String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::SftpError(SftpErrorKind::NoSuchFile, _) => Self::Missing,
            Error::SftpError(SftpErrorKind::PermDenied, words) => Self::Denied(words.get().0.to_owned()),
            Error::SftpError(_, words) => Self::Said(words.get().0.to_owned()),
            Error::UnsupportedExtension(name) => Self::Said(format!("the server cannot do `{name}`")),
            Error::FormatError(_)
            | Error::SftpServerHelloMsgTooLong { .. }
            | Error::UnsupportedSftpProtocol { .. }
            | Error::InvalidResponse(_) => Self::Broken(SshTrouble::Gibberish, error.to_string()),
            error => Self::Broken(SshTrouble::Lost, error.to_string()),
        }
    }
}

impl Failure {
    /// Passes over what the server refused, where that does not matter.
    pub fn if_broken(self) -> Result<(), Self> {
        if matches!(self, Self::Broken(..)) { Err(self) } else { Ok(()) }
    }

    /// Names the object and the store.
    pub fn of(self, action: &'static str, name: &str, location: &str) -> StoreError {
        let (name, location) = (name.to_owned(), location.to_owned());
        match self {
            Self::Missing => StoreError::Missing { name, location },
            Self::Exists => StoreError::Exists { name, location },
            Self::Full => StoreError::Full { name, location },
            Self::Short { size, end } => StoreError::Short { name, location, size, end },
            Self::Said(words) => StoreError::Io { action, name, location, source: io::Error::other(words) },
            Self::Denied(words) => {
                let source = io::Error::other(words);
                StoreError::Ssh { action, name, location, trouble: SshTrouble::Denied, source }
            }
            Self::Broken(trouble, words) => {
                StoreError::Ssh { action, name, location, trouble, source: io::Error::other(words) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_becomes_one_sentence() {
        let cases = [
            ("Host key verification failed.", SshTrouble::UnknownHost),
            ("me@host: Permission denied (publickey,password).", SshTrouble::Refused),
            ("ssh: Could not resolve hostname nowhere: Name or service not known", SshTrouble::NoHost),
            ("ssh: connect to host h port 22: Connection refused", SshTrouble::NobodyListens),
            ("ssh: connect to host h port 22: Connection timed out", SshTrouble::Unreachable),
            ("Timeout, server h not responding.", SshTrouble::Unreachable),
            ("subsystem request failed on channel 0", SshTrouble::NoSftp),
            ("/x: terminating, 1 bad configuration options", SshTrouble::Options),
            ("command-line: line 0: Bad configuration option: zebra", SshTrouble::Options),
        ];
        for (line, trouble) in cases {
            assert_eq!(SshTrouble::of_lines(["** WARNING: a banner", line]), Some(trouble), "{line}");
        }
        let changed = ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Host key verification failed."];
        assert_eq!(SshTrouble::of_lines(changed), Some(SshTrouble::ChangedHost));
        assert_eq!(SshTrouble::of_lines(["Welcome"]), None);
    }

    #[test]
    fn only_what_may_pass_is_waited_for() {
        for trouble in [SshTrouble::UnknownHost, SshTrouble::Refused, SshTrouble::NoSsh, SshTrouble::NoSftp] {
            assert!(!trouble.may_pass(true) && !trouble.may_pass(false), "{trouble}");
        }
        assert!(SshTrouble::Unreachable.may_pass(true) && !SshTrouble::Unreachable.may_pass(false));
    }
}
