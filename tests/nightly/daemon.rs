//! `bk daemon`: one process that does what is due, reads its configuration again, and ends in order.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::several::wait_for;
use super::{Bench, TOLD, TWO, told, two};

/// A schedule that comes every minute.
const OFTEN: &str = "[schedule]\nrun = \"* * * * *\"\n";
const SELDOM: &str = "[schedule]\nrun = \"0 0 1 1 *\"\n";
const SERVED: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(bench: &Bench) -> Self {
        let log = bench.path("daemon.log");
        let file = std::fs::File::create(&log).unwrap();
        let child =
            bench.bk(&["daemon"]).stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).spawn().unwrap();
        Self { child, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said this.
    #[track_caller]
    fn says(&self, words: &str) {
        let begin = Instant::now();
        while !self.said().contains(words) {
            assert!(begin.elapsed() < Duration::from_secs(90), "`{words}` did not come:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(&mut self) -> Option<i32> {
        wait_for("the end of the daemon", || self.child.try_wait().unwrap().map(|status| status.code()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bk\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_runs_what_was_missed_serves_its_numbers_and_waits_for_the_next() {
    let bench = two(&format!("{SELDOM}{SERVED}"));
    let mut daemon = Daemon::start(&bench);
    // What never was is due at once.
    daemon.says("2 profiles backed up");
    let address = daemon.said().split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let health = || ask(&address, "/health");
    wait_for("health", || health().starts_with("HTTP/1.1 200").then_some(()));
    assert!(health().ends_with("2 profiles are fine\n"));
    let numbers = ask(&address, "/metrics");
    assert!(
        numbers.contains("bk_last_exit_code{operation=\"backup\",profile=\"wiki\",repository=\"usb\"} 0"),
        "{numbers}"
    );
    assert!(numbers.contains("bk_next_run_timestamp_seconds{profile=\"shop\"}"));
    std::thread::sleep(Duration::from_millis(500));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends(), Some(0));
    assert_eq!(bench.ids("ssd").len(), 2, "{}", daemon.said());
    // What was done is not done again when it comes back.
    let daemon = Daemon::start(&bench);
    daemon.says("waiting, with 2 profiles; next shop at ");
    std::thread::sleep(Duration::from_millis(500));
    drop(daemon);
    assert_eq!(bench.ids("ssd").len(), 2);
}

#[test]
fn it_runs_at_its_time_and_reads_the_configuration_again_when_told() {
    let bench = two(SELDOM);
    bench.expect(0, &["run"]);
    told(&bench);
    let daemon = Daemon::start(&bench);
    daemon.says("waiting, with 2 profiles");
    // A wrong one changes nothing.
    let right = std::fs::read_to_string(bench.path("bk.toml")).unwrap();
    std::fs::write(bench.path("bk.toml"), format!("{right}zebra = 1\n")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.says("the configuration stays as it was");
    assert!(daemon.said().contains("zebra"));
    std::fs::remove_dir_all(bench.path("shop")).unwrap();
    bench.configure(
        &format!("{TWO}{TOLD}{OFTEN}").replace("[profile.shop]\nroot", "[profile.shop]\nschedule = \"never\"\nroot"),
    );
    daemon.signal(Signal::HUP);
    daemon.says("the configuration was read again");
    daemon.says("1 profile backed up");
    assert_eq!(bench.ids("ssd").len(), 3);
    assert_eq!(super::events(&told(&bench)), ["complete wiki"]);
}

#[test]
fn it_ends_in_order_when_it_is_told_to_during_a_backup() {
    let bench = two(SELDOM);
    let at = bench.path("at");
    super::hook(
        &bench,
        "own",
        &format!(
            "case $1 in begin) echo begin >>{log} ;; end) echo end >>{log} ;;\n\
             probe) echo '{{\"stream\": \"own.txt\", \"about\": \"all\"}}' >&3 ;;\n\
             dump) touch {at}; sleep 60 ;; *) exit 75 ;; esac",
            log = bench.path("log").display(),
            at = at.display()
        ),
    );
    bench.configure(&format!("{TWO}{SELDOM}[[profile.wiki.database]]\nengine = \"own\"\n"));
    let mut daemon = Daemon::start(&bench);
    wait_for("the dump", || at.exists().then_some(()));
    daemon.signal(Signal::TERM);
    let code = daemon.ends();
    assert_eq!(code, Some(0), "{}", daemon.said());
    assert!(daemon.said().contains("the run was stopped") && daemon.said().ends_with("ended\n"), "{}", daemon.said());
    bench.expect(0, &["backup", "shop", "--lock-wait", "0s"]);
}

#[test]
fn without_a_schedule_there_is_nothing_to_wait_for() {
    let bench = two("");
    let said = bench.expect(2, &["daemon"]);
    assert!(said.contains("no profile has a schedule") && said.contains("[schedule]"), "{said}");
}

#[test]
fn an_address_that_is_taken_is_said_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bench = two(&format!("{SELDOM}[metrics]\nlisten = \"{address}\"\n"));
    let said = bench.expect(1, &["daemon"]);
    assert!(said.contains(&address.to_string()) && said.contains("hint"), "{said}");
}
