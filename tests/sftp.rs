//! The program and a folder behind SSH: everything that works on a disk works there, a connection that is lost costs
//! time only, and what cannot be used is said in one sentence with the next step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

#[path = "support/ssh_server.rs"]
mod ssh_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ssh_server::SshServer;
use support::tree::noise;

/// A folder to back up, a server, and a configuration that names a folder there `far`.
struct Bench {
    folder: tempfile::TempDir,
    server: SshServer,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), server: SshServer::start() };
        std::fs::create_dir_all(bench.path("source/sub")).unwrap();
        for number in 0..40 {
            std::fs::write(bench.path(&format!("source/sub/{number}")), noise(number, 50_000)).unwrap();
        }
        std::fs::write(bench.path("source/file"), b"content\n".repeat(1000)).unwrap();
        bench.configure(&bench.server.options(), "");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, options: &[String], more: &str) {
        let here = self.folder.path().to_str().unwrap();
        let text = format!(
            "[family]\nkey-file = \"{here}/key\"\n[repository.far]\nlocation = \"{}\"\nssh-options = {options:?}\n{more}\
             [profile.source]\nroot = \"{here}/source\"\n",
            self.server.location(&self.path("far/bk"))
        );
        std::fs::write(self.path("bk.toml"), text).unwrap();
    }

    fn bk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        command.env("BK_CONFIG", self.path("bk.toml")).env("BK_DATA_DIR", self.path("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    /// Runs and expects an exit code; gives what was said.
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        said(code, arguments, &self.bk(arguments).output().unwrap())
    }

    /// The names and sizes of what lies in a folder of the repository and those in it.
    fn stored_bytes(&self) -> u64 {
        let mut folders = vec![self.path("far/bk")];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                    Ok(metadata) => bytes += metadata.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    fn wait_for_stored_bytes(&self, bytes: u64) {
        let start = Instant::now();
        while self.stored_bytes() < bytes {
            assert!(start.elapsed() < Duration::from_secs(120), "nothing arrives at the server");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn large_source(&self, files: u64) {
        for number in 0..files {
            std::fs::write(self.path(&format!("source/large-{number}")), noise(1000 + number, 10 << 20)).unwrap();
        }
    }

    fn restored(&self, to: &str, name: &str) -> Option<Vec<u8>> {
        let inside = self.path("source").strip_prefix("/").unwrap().join(name);
        let places = [self.path(to).join("source").join(&inside), self.path(to).join("source").join(name)];
        places.iter().find_map(|place| std::fs::read(place).ok())
    }
}

fn said(code: i32, arguments: &[&str], output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{said}");
    // Lines are filled to the width of a terminal.
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_repository_behind_ssh_is_made_filled_read_checked_thinned_and_pruned() {
    let bench = Bench::new();
    let missing = bench.expect(10, &["snapshots"]);
    assert!(missing.contains("there is no repository at sftp://127.0.0.1:"), "{missing}");
    assert!(bench.expect(0, &["init"]).contains("far: made (sftp://"));
    assert!(bench.expect(0, &["init"]).contains("there already"));
    bench.expect(0, &["backup", "source"]);
    bench.server.take_log();
    bench.expect(0, &["backup", "source"]);
    let log = bench.server.take_log();
    let written: u64 = log.lines().filter_map(written_bytes).sum();
    assert!(written < 100_000, "an unchanged run writes next to nothing, not {written} bytes");
    for number in 30..40 {
        std::fs::remove_file(bench.path(&format!("source/sub/{number}"))).unwrap();
    }
    std::fs::write(bench.path("source/new"), "new\n").unwrap();
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["check", "--read-data"]);
    bench.expect(0, &["restore", "latest~1", "--to", "first"]);
    bench.expect(0, &["restore", "latest", "--to", "second"]);
    assert_eq!(bench.restored("first", "file").unwrap(), b"content\n".repeat(1000));
    assert_eq!(bench.restored("first", "sub/39").unwrap(), noise(39, 50_000));
    assert!(bench.restored("second", "sub/39").is_none() && bench.restored("second", "new").is_some());
    bench.expect(0, &["forget", "--dry-run"]);
    let all = bench.expect(0, &["--json", "snapshots"]);
    let ids: Vec<_> = all.split("\"id\":").skip(1).filter_map(|after| after.split('"').nth(1)).collect();
    assert_eq!(ids.len(), 3, "{all}");
    bench.expect(0, &["forget", ids[0]]);
    bench.expect(0, &["prune"]);
    assert_eq!(bench.expect(0, &["--json", "snapshots"]).matches("\"id\":").count(), 2);
    bench.expect(0, &["check", "--read-data"]);
    assert!(bench.expect(0, &["doctor"]).contains("opens"));
    let left = std::fs::read_dir(bench.path("far/bk/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing temporary stays");
}

/// Of a line `close "…" bytes read 0 written 123`.
fn written_bytes(line: &str) -> Option<u64> {
    line.rsplit_once(" written ")?.1.trim().parse().ok()
}

#[test]
fn a_folder_below_the_home_of_the_login_is_one_too() {
    let bench = Bench::new();
    let name = format!(".bk-test-{}", std::process::id());
    struct Gone(PathBuf);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
    let home = PathBuf::from(home_of_this_user());
    let there = Gone(home.join(&name));
    let text = std::fs::read_to_string(bench.path("bk.toml")).unwrap();
    let absolute = bench.server.location(&bench.path("far/bk"));
    let below = bench.server.location(Path::new(&format!("/~/{name}/bk")));
    std::fs::write(bench.path("bk.toml"), text.replace(&absolute, &below)).unwrap();
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "source"]);
    assert!(there.0.join("bk/packs/00").is_dir(), "it lies below {}", home.display());
    bench.expect(0, &["check", "--read-data"]);
}

/// Where a login begins, which a test's HOME does not change.
fn home_of_this_user() -> String {
    let user = rustix::process::geteuid().as_raw().to_string();
    let output = Command::new("getent").args(["passwd", &user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(':').nth(5).unwrap().to_owned()
}

#[test]
fn what_is_set_up_wrong_is_said_with_the_next_step() {
    let mut bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.configure(&bench.server.options_that_know_no_host(), "");
    for (code, arguments) in [(1, vec!["snapshots"]), (1, vec!["backup", "source"]), (3, vec!["doctor"])] {
        let said = bench.expect(code, &arguments);
        assert!(said.contains("the server's key is not known on this machine"), "{arguments:?}: {said}");
        assert!(said.contains("connect once by hand with `ssh`"), "{arguments:?}: {said}");
    }
    bench.configure(&bench.server.options_with_wrong_key(), "");
    let said = bench.expect(1, &["backup", "source"]);
    assert!(said.contains("the server refuses the login") && said.contains("authorized_keys"), "{said}");
    assert!(said.contains("Permission denied (publickey"), "{said}");
    bench.configure(&bench.server.options(), "credentials-file = \"/nowhere\"\n");
    assert!(bench.expect(2, &["snapshots"]).contains("opened by the keys of ssh"));
    bench.configure(&bench.server.options(), "region = \"eu\"\n");
    assert!(bench.expect(2, &["snapshots"]).contains("is no bucket"));
    bench.configure(&bench.server.options(), "");
    bench.server.be_read_only();
    let said = bench.expect(1, &["backup", "source"]);
    assert!(said.contains("the login may not do that there") && said.contains("right to read and write"), "{said}");
    bench.expect(0, &["snapshots"]);
    bench.server.stop();
    let start = Instant::now();
    let said = bench.expect(1, &["backup", "source"]);
    assert!(said.contains("nothing listens at the port") && said.contains("check the network"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(20), "a server that was not reached is not waited for");
    let said = bench.said_without_ssh();
    assert!(said.contains("the program `ssh` is not installed") && said.contains("openssh-client"), "{said}");
}

impl Bench {
    fn said_without_ssh(&self) -> String {
        let output = self.bk(&["snapshots"]).env("PATH", self.path("nothing")).output().unwrap();
        said(1, &["snapshots"], &output)
    }
}

#[test]
fn ssh_is_told_no_secret() {
    let bench = Bench::new();
    let seen = bench.path("seen");
    let proxy = format!("-oProxyCommand=sh -c 'env >{}'", seen.display());
    bench.configure(&[vec![proxy], bench.server.options()].concat(), "");
    let mut command = bench.bk(&["snapshots"]);
    for name in ["BK_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        command.env(name, "canary");
    }
    command.env("SSH_AUTH_SOCK", "/nowhere/agent");
    said(1, &["snapshots"], &command.output().unwrap());
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("SSH_AUTH_SOCK=/nowhere/agent") && !seen.contains("canary"), "{seen}");
}

#[test]
fn a_server_that_goes_away_in_a_run_and_comes_back_costs_time_only() {
    let mut bench = Bench::new();
    bench.large_source(20);
    bench.expect(0, &["init"]);
    let child = bench.bk(&["backup", "source"]).spawn().unwrap();
    for part in 1..=3 {
        bench.wait_for_stored_bytes(part * (40 << 20));
        bench.server.stop();
        std::thread::sleep(Duration::from_millis(1500));
        bench.server.run();
    }
    said(0, &["backup", "source"], &child.wait_with_output().unwrap());
    bench.expect(0, &["check", "--read-data"]);
    let left = std::fs::read_dir(bench.path("far/bk/tmp")).unwrap().count();
    assert_eq!(left, 0, "what lost connections have left is taken away");
}

#[test]
fn a_server_that_comes_back_and_lets_nobody_in_ends_the_run_and_the_next_succeeds() {
    let mut bench = Bench::new();
    bench.large_source(20);
    bench.expect(0, &["init"]);
    let child = bench.bk(&["backup", "source"]).spawn().unwrap();
    bench.wait_for_stored_bytes(100 << 20);
    bench.server.refuse_logins();
    bench.server.stop();
    bench.server.run();
    let failed = said(1, &["backup", "source"], &child.wait_with_output().unwrap());
    assert!(failed.contains("the server refuses the login"), "{failed}");
    bench.server.accept_logins();
    assert!(!bench.expect(0, &["snapshots"]).contains("complete"));
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["check", "--read-data"]);
}

#[test]
fn a_full_disk_at_the_server_is_said_to_be_full() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("far")).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m", "bk-test"]).arg(bench.path("far")).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: mounting is not allowed");
        return;
    }
    bench.expect(0, &["init"]);
    bench.large_source(10);
    let output = bench.bk(&["backup", "source"]).output().unwrap();
    let _ = Command::new("umount").arg("-l").arg(bench.path("far")).status();
    let said = said(1, &["backup", "source"], &output);
    assert!(said.contains("no room is left in sftp://") && said.contains("make room there"), "{said}");
}

#[test]
fn the_doctor_tries_out_a_folder_behind_ssh_and_says_when_its_server_cannot_make_it_durable() {
    let mut bench = Bench::new();
    bench.expect(0, &["init"]);
    let before = bench.stored_bytes();
    let tried = "ok store: an object was written, read back, listed, looked at and deleted";
    let said = bench.expect(0, &["doctor", "--speed"]);
    assert!(said.contains(tried) && said.contains("ok speed: takes ") && !said.contains("durability"), "{said}");
    bench.server.know_no_fsync();
    let said = bench.expect(0, &["doctor"]);
    assert!(said.contains(tried), "{said}");
    assert!(said.contains("WARNING durability: this server cannot be asked to make files durable"), "{said}");
    assert!(bench.expect(0, &["--json", "doctor"]).contains("\"makes_durable\":false"));
    bench.server.be_read_only();
    let said = bench.expect(3, &["doctor"]);
    assert!(said.contains("PROBLEM store: writing does not work: ") && said.contains("may not do that"), "{said}");
    assert_eq!(bench.stored_bytes(), before);
    assert_eq!(std::fs::read_dir(bench.path("far/bk/tmp")).unwrap().count(), 0);
}
