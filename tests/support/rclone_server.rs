//! A folder served by rclone, behind a user and a password.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const USER: &str = "me";
pub const PASSWORD: &str = "canary-of-a-password";

/// Killed when it goes, and with the thread that started it.
pub struct RcloneServer {
    child: Child,
    /// Host and port.
    pub place: String,
}

impl RcloneServer {
    /// Serves by WebDAV.
    pub fn webdav(folder: &Path) -> Self {
        // What it remembers of folders it must forget soon: a disk is taken away from it.
        Self::start("webdav", folder, &["--dir-cache-time", "1s"])
    }

    /// Serves by restic's REST protocol.
    pub fn restic(folder: &Path) -> Self {
        Self::start("restic", folder, &["--cache-objects=false"])
    }

    /// As [`Self::restic`], taking nothing away and replacing nothing.
    pub fn restic_that_only_adds(folder: &Path) -> Self {
        Self::start("restic", folder, &["--cache-objects=false", "--append-only"])
    }

    fn start(protocol: &str, folder: &Path, options: &[&str]) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let place = format!("127.0.0.1:{port}");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "rclone", "serve", protocol, "--addr", &place]);
        command.args(options).arg(folder);
        // Not looking into the user's configuration, and the password not in the list of processes.
        command.env("RCLONE_CONFIG", "/dev/null").env("RCLONE_USER", USER).env("RCLONE_PASS", PASSWORD);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, place };
        let start = Instant::now();
        while TcpStream::connect(&server.place).and_then(|mut stream| stream.write_all(b"")).is_err() {
            let ended = server.child.try_wait().unwrap();
            let late = start.elapsed() > Duration::from_secs(60);
            assert!(ended.is_none() && !late, "rclone does not start ({ended:?}); `tests/run` installs it");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Ends at once, in the middle of what it does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RcloneServer {
    fn drop(&mut self) {
        self.kill();
    }
}
