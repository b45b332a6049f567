//! One connection: a child `ssh` that is asked for the SFTP of the server. It is the system's, so the user's
//! configuration, keys, agent and known hosts count. It never asks anybody anything.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssh_sftp_client::{Sftp, SftpOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::trouble::{Failure, SshTrouble};
use crate::environment::is_secret;
use crate::store::location::Remote;

/// A request without a body of ours or the server's.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that carries a piece of an object. A dead connection is noticed by ssh long before.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(600);

/// From the start of ssh to the first answer: it gives up connecting by itself, but not logging in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long ssh may take to say its last words once its connection has ended.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines of ssh that are remembered, the newest of them, and the bytes of one.
const REMEMBERED_LINES: usize = 20;
const LINE_BYTES: u64 = 1000;

/// Where to connect to, and how.
#[derive(Debug, Clone)]
pub(super) struct Address {
    host: String,
    port: Option<u16>,
    user: Option<String>,
    options: Vec<String>,
}

impl Address {
    pub fn new(remote: &Remote, options: &[String]) -> Self {
        let (host, port) = remote.host_and_port();
        Self { host: host.to_owned(), port, user: remote.user.clone(), options: options.to_vec() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        // Of an option that is given twice, ssh takes the first: no option of the user makes it ask.
        command.arg("-oBatchMode=yes").args(&self.options);
        for option in [
            "-oServerAliveInterval=15",
            "-oServerAliveCountMax=4",
            "-oConnectTimeout=20",
            "-oControlMaster=no",
            "-oClearAllForwardings=yes",
            "-oForwardAgent=no",
            "-oForwardX11=no",
            "-oPermitLocalCommand=no",
        ] {
            command.arg(option);
        }
        if let Some(port) = self.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &self.user {
            command.arg("-l").arg(user);
        }
        command.args(["-s", "--", &self.host, "sftp"]);
        for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_secret(variable)) {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is for us: what is on its way is brought to its end.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// The last lines that ssh said.
#[derive(Debug, Default)]
struct Said(Mutex<VecDeque<String>>);

impl Said {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REMEMBERED_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// What they mean, and the last of them.
    fn meaning(&self) -> (Option<SshTrouble>, Option<String>) {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (SshTrouble::of_lines(lines.iter().map(String::as_str)), lines.back().cloned())
    }
}

async fn listen(stderr: ChildStderr, said: Arc<Said>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text: String = String::from_utf8_lossy(&line).chars().filter(|one| !one.is_control()).collect();
        if !text.trim().is_empty() {
            said.add(text.trim().to_owned());
        }
        line.clear();
    }
}

/// Waits for an answer, but not for ever: what does not answer is broken.
pub(super) async fn limit<T, E: Into<Failure>>(
    time: Duration,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout(time, request).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => {
            let words = format!("no answer within {} s", time.as_secs());
            Err(Failure::Broken(SshTrouble::Unreachable, words))
        }
    }
}

/// A connection to the server; `ssh` ends with it.
pub(super) struct Connection {
    sftp: Sftp,
    ssh: tokio::sync::Mutex<Child>,
    said: Arc<Said>,
    listener: Mutex<Option<JoinHandle<()>>>,
    broken: AtomicBool,
}

impl Connection {
    /// Starts ssh and waits until the server speaks SFTP.
    pub async fn open(address: &Address) -> Result<Self, Failure> {
        let mut ssh = address.command().spawn().map_err(|error| {
            let trouble = if error.kind() == io::ErrorKind::NotFound { SshTrouble::NoSsh } else { SshTrouble::Options };
            Failure::Broken(trouble, error.to_string())
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take()) else {
            return Err(Failure::Broken(SshTrouble::Lost, "ssh has no pipes".to_owned()));
        };
        let said = Arc::new(Said::default());
        let listener = tokio::spawn(listen(stderr, Arc::clone(&said)));
        match limit(LOGIN_TIMEOUT, Sftp::new(stdin, stdout, SftpOptions::new())).await {
            Ok(sftp) => Ok(Self {
                sftp,
                ssh: tokio::sync::Mutex::new(ssh),
                said,
                listener: Mutex::new(Some(listener)),
                broken: AtomicBool::new(false),
            }),
            Err(failure) => Err(last_words(&mut ssh, Some(listener), &said, failure).await),
        }
    }

    pub const fn sftp(&self) -> &Sftp {
        &self.sftp
    }

    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Ends a connection on which a request has failed, and says why as well as ssh knows.
    pub async fn give_up(&self, failure: Failure) -> Failure {
        self.broken.store(true, Ordering::Relaxed);
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ssh = self.ssh.lock().await;
        last_words(&mut ssh, listener, &self.said, failure).await
    }
}

/// Ends ssh, and puts its own words in place of `failure` where it said something.
async fn last_words(ssh: &mut Child, listener: Option<JoinHandle<()>>, said: &Said, failure: Failure) -> Failure {
    let Failure::Broken(trouble, words) = failure else { return failure };
    // When its connection has ended it ends by itself; when nobody answered it would not.
    if trouble == SshTrouble::Unreachable || timeout(LAST_WORDS_TIMEOUT, ssh.wait()).await.is_err() {
        let _ = ssh.start_kill();
        let _ = timeout(LAST_WORDS_TIMEOUT, ssh.wait()).await;
    }
    if let Some(listener) = listener {
        let _ = timeout(LAST_WORDS_TIMEOUT, listener).await;
    }
    match said.meaning() {
        (Some(meaning), line) => Failure::Broken(meaning, line.unwrap_or(words)),
        (None, Some(line)) if trouble == SshTrouble::Lost => Failure::Broken(trouble, line),
        _ => Failure::Broken(trouble, words),
    }
}
