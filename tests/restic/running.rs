//! A program that goes on while the test looks at it.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Killed when it goes.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child: Some(child) }
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    pub fn is_over(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits until `there` says so, at most as long as it runs.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut there: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !there() {
            if self.is_over() {
                let output = self.child.take().unwrap().wait_with_output().unwrap();
                panic!("it ended before {what}: {}", text(&output));
            }
            assert!(begin.elapsed() < PATIENCE, "{what} did not come");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Its exit code, or that of the shell for a signal, and what it said.
    #[track_caller]
    pub fn ends(mut self) -> (i32, String) {
        use std::os::unix::process::ExitStatusExt as _;
        let begin = Instant::now();
        while !self.is_over() {
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        (code.unwrap(), text(&output))
    }
}

fn text(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    super::place::words(&format!("{out} {error}"))
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
