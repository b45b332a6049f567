//! The program as its user meets it: what it prints, how it exits, what it never shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod check;
mod doctor;
mod exit_codes;
mod import;
mod keep;
mod outside;
mod past;
mod profile;
mod prune;
mod readme;
mod repair;
mod restore;
mod secrets;
mod verify;
mod verify_due;
mod verify_sqlite;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A place of one's own with a folder to back up.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("source/sub")).unwrap();
        std::fs::write(folder.path().join("source/file"), b"content\n".repeat(1000)).unwrap();
        std::fs::write(folder.path().join("source/sub/other"), "other\n").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with nothing of the machine's own configuration.
    fn bk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.folder.path()).env("BK_DATA_DIR", self.path("data"));
        command.stdin(std::process::Stdio::null()).current_dir(self.folder.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.bk(arguments).output().unwrap()
    }

    /// Runs and expects an exit code; gives what was printed, standard output first.
    fn expect(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{out}\n{err}");
        (out, err)
    }

    /// The files of the repository in a folder of it.
    fn objects(&self, area: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("data/repository").join(area), &mut found);
        found.sort();
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// On one line, however it was filled.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
