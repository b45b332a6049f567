//! A real OpenSSH server on a free port of the loopback, with keys of its own, run by whoever runs the test.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SSHD: &str = "/usr/sbin/sshd";
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// Stopped when it goes, with every connection to it.
pub struct SshServer {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

fn make_key(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path);
    let output = command.output().expect("ssh-keygen runs; `tests/run` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The processes below one, by the number of each.
fn descendants(of: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        if let Some(parent) = after.split_whitespace().nth(1).and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

impl SshServer {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        make_key(&path("host_key"));
        make_key(&path("key"));
        make_key(&path("wrong_key"));
        std::fs::copy(path("key.pub"), path("authorized_keys")).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let host_key = std::fs::read_to_string(path("host_key.pub")).unwrap();
        std::fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        std::fs::write(path("nothing_known"), "").unwrap();
        let mut server = Self { folder, port, child: None };
        server.client_config("ssh_config", "key", "known_hosts");
        server.client_config("wrong_key_config", "wrong_key", "known_hosts");
        server.client_config("unknown_host_config", "key", "nothing_known");
        server.server_config(&format!("sftp {SFTP_SERVER} -e -l VERBOSE 2>>{}", server.path("log").display()));
        server.run();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Nothing of the user's own keys, agent and known hosts counts.
    fn client_config(&self, name: &str, key: &str, known_hosts: &str) {
        let text = format!(
            "Host *\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\n\
             GlobalKnownHostsFile /dev/null\n",
            self.path(key).display(),
            self.path(known_hosts).display()
        );
        std::fs::write(self.path(name), text).unwrap();
    }

    fn server_config(&self, subsystem: &str) {
        let text = format!(
            "ListenAddress 127.0.0.1:{}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem {subsystem}\n",
            self.port,
            self.path("host_key").display(),
            self.path("authorized_keys").display(),
        );
        std::fs::write(self.path("sshd_config"), text).unwrap();
    }

    /// Offers another subsystem instead of SFTP, from the next connection on.
    pub fn offer_no_sftp(&mut self) {
        self.stop();
        self.server_config("nothing /bin/false");
        self.run();
    }

    /// Lets nobody write, from the next connection on.
    pub fn be_read_only(&mut self) {
        self.stop();
        self.server_config(&format!("sftp {SFTP_SERVER} -R"));
        self.run();
    }

    /// Cannot make durable what it takes, from the next connection on.
    pub fn know_no_fsync(&mut self) {
        self.stop();
        self.server_config(&format!("sftp {SFTP_SERVER} -P fsync"));
        self.run();
    }

    /// Ends the connection, once, instead of answering a request whose line in the log has these words.
    pub fn lose_the_answer_to(&mut self, words: &str) {
        let [log, lost, filter] = ["log", "lost", "filter.py"].map(|name| self.path(name));
        let text = format!(
            "import os, sys\n\
             while data := os.read(0, 65536):\n\
             \x20   if not os.path.exists({lost:?}) and {words:?} in open({log:?}).read():\n\
             \x20       open({lost:?}, 'w').close()\n\
             \x20       os.kill(0, 9)\n\
             \x20   sys.stdout.buffer.write(data)\n\
             \x20   sys.stdout.buffer.flush()\n"
        );
        std::fs::write(&filter, text).unwrap();
        self.stop();
        self.take_log();
        let (log, filter) = (log.display(), filter.display());
        self.server_config(&format!("sftp {SFTP_SERVER} -e -l VERBOSE 2>>{log} | python3 {filter}"));
        self.run();
    }

    pub fn has_lost_an_answer(&self) -> bool {
        self.path("lost").exists()
    }

    /// Lets nobody in, from the next connection on.
    pub fn refuse_logins(&self) {
        std::fs::rename(self.path("authorized_keys"), self.path("refused_keys")).unwrap();
    }

    pub fn accept_logins(&self) {
        std::fs::rename(self.path("refused_keys"), self.path("authorized_keys")).unwrap();
    }

    /// Starts it, also again.
    pub fn run(&mut self) {
        if rustix::process::geteuid().is_root() {
            // Where its package is not started as a service nobody has made it.
            std::fs::create_dir_all("/run/sshd").expect("sshd has its folder /run/sshd");
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", SSHD, "-D", "-f"]).arg(self.path("sshd_config"));
        command.arg("-E").arg(self.path("sshd_log"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let child = self.child.insert(child);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = child.try_wait().unwrap();
            if ended.is_some() || start.elapsed() > Duration::from_secs(30) {
                let log = std::fs::read_to_string(self.folder.path().join("sshd_log")).unwrap_or_default();
                panic!("sshd does not start ({ended:?}); `tests/run` installs it\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it and every connection to it at once, as a power cut would.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Stopped first, it starts no more while what it has started is looked for.
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
        descendants(child.id()).into_iter().for_each(kill);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// The place of a folder there, which is one of this machine.
    pub fn location(&self, folder: &Path) -> String {
        format!("sftp://127.0.0.1:{}{}", self.port, folder.display())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What ssh has to be told to get in.
    pub fn options(&self) -> Vec<String> {
        self.options_of("ssh_config")
    }

    pub fn options_with_wrong_key(&self) -> Vec<String> {
        self.options_of("wrong_key_config")
    }

    pub fn options_that_know_no_host(&self) -> Vec<String> {
        self.options_of("unknown_host_config")
    }

    fn options_of(&self, config: &str) -> Vec<String> {
        vec!["-F".to_owned(), self.path(config).to_str().unwrap().to_owned()]
    }

    /// What the server has done since this was asked last.
    pub fn take_log(&self) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        std::fs::write(self.path("log"), "").unwrap();
        log
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.stop();
    }
}
