//! The real program, in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `bk` with a data folder of its own and nothing of the user's configuration.
pub struct Program {
    pub data: PathBuf,
}

impl Program {
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.args(arguments).env_clear().env("BK_DATA_DIR", &self.data).env("HOME", &self.data);
        command.env("BK_CONFIG", self.config()).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// An empty configuration, so that one in /etc/bk does not count.
    fn config(&self) -> PathBuf {
        let path = self.data.with_extension("toml");
        if !path.exists() {
            std::fs::write(&path, "").unwrap();
        }
        path
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs and expects exit code 0; gives what was printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "bk {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// One field of the summary that `--json` prints.
    pub fn summary(&self, arguments: &[&str]) -> serde_json::Value {
        let printed = self.succeed(&[&["--json"], arguments].concat());
        let lines = printed.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.into_iter().find(|line| line["message_type"] == "summary").expect("a summary")
    }

    pub fn repository(&self) -> PathBuf {
        self.data.join("repository")
    }
}

/// Everything that a run has said.
pub fn text(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{error}", output.status)
}

/// Waits for a process at most so long; `None` when it does not end.
pub fn wait_at_most(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
