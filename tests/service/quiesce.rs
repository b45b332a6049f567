//! What stands still goes on again, however a run ends, and in which order all of it happens.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use super::trees::Said;
use super::{MARK, Machine, processes, signal, wait_for};

impl Machine {
    pub(super) fn log(&self) -> PathBuf {
        self.bench.path("log")
    }

    /// What was written down so far; it is forgotten.
    pub(super) fn logged(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let _ = std::fs::remove_file(self.log());
        text.lines().map(str::to_owned).collect()
    }

    /// A hook that begins and ends something, with shell text for both.
    pub(super) fn stopper(&self, name: &str, begin: &str, end: &str) {
        let log = self.log();
        let log = log.display();
        self.hook(
            name,
            &format!(
                "case $1 in\nbegin) echo '{{\"state\": \"{name} ran\"}}' >&3; echo {name} begin >>{log}\n{begin}\n;;\n\
             end) echo \"{name} end $BK_STATE\" >>{log}\n{end}\n;;\n*) exit 75 ;; esac"
            ),
        );
    }

    /// The hook `own`, with one dump.
    pub(super) fn dumper(&self, dump: &str) {
        let log = self.log();
        let log = log.display();
        self.hook(
            "own",
            &format!(
                "case $1 in\nprobe) echo '{{\"stream\": \"own.txt\", \"about\": \"all\"}}' >&3 ;;\n\
             dump) echo dump >>{log}; echo dumped\n{dump}\n;;\n*) exit 75 ;; esac"
            ),
        );
    }

    /// A command of the user that says when it ran, and what it was told.
    fn moment(&self, name: &str, more: &str) -> String {
        let run = format!("echo $BK_MOMENT $BK_PROFILE $BK_OUTCOME $BK_SNAPSHOT >>{}{more}", self.log().display());
        format!("[[profile.shop.{name}]]\nrun = [\"sh\", \"-c\", \"{run}\"]\n")
    }

    fn moments(&self) -> String {
        ["before", "after", "failed", "finally"].iter().map(|name| self.moment(name, "")).collect()
    }

    /// Starts a backup and waits until `line` was written down.
    pub(super) fn start_until(&self, line: &str, mark: &str) -> Child {
        let mut command = self.bk(&["backup", "shop"]);
        command.env(MARK, mark).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait_for(line, || {
            let text = std::fs::read_to_string(self.log()).unwrap_or_default();
            text.lines().any(|one| one == line).then_some(())
        });
        child
    }

    pub(super) fn journal(&self) -> usize {
        std::fs::read_dir(self.bench.path("data/quiesced")).map_or(0, Iterator::count)
    }
}

const STILL: &str = "[profile.shop.quiesce]\nhow = \"stop\"\nunits = [\"app\"]\ncontainers = [\"db\"]\n";
pub(super) const DUMPED: &str = "[[profile.shop.database]]\nengine = \"own\"\n";

/// Two things that are stopped, a dump, and every moment.
fn machine(dump: &str) -> Machine {
    let machine = Machine::new("");
    machine.stopper("service", "", "");
    machine.stopper("container", "", "");
    machine.dumper(dump);
    machine.configure(&format!("{STILL}{DUMPED}{}", machine.moments()));
    machine
}

pub(super) fn finished(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn newest(machine: &Machine) -> String {
    machine.snapshots().last().unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn dumps_and_files_are_read_while_all_stands_still_and_what_stood_goes_on_afterwards() {
    let machine = machine("");
    let quiet = machine.bench.path("files/quiet");
    machine.stopper("service", &format!("touch {}", quiet.display()), &format!("rm {}", quiet.display()));
    machine.backs_up();
    let id = newest(&machine);
    let expected = [
        "before shop",
        "service begin",
        "container begin",
        "dump",
        "container end container ran",
        "service end service ran",
        &format!("after shop complete {id}"),
        &format!("finally shop complete {id}"),
    ];
    assert_eq!(machine.logged(), expected);
    assert!(!quiet.exists());
    machine.run(&["dump", "shop", quiet.to_str().unwrap()]).exits(0);
    assert_eq!(machine.journal(), 0);
    // What the hook is told comes from the configuration.
    machine.hook(
        "service",
        &format!("[ \"$1\" = begin ] || exit 75; echo \"$BK_SET_NAMES $BK_PROFILE\" >>{}", machine.log().display()),
    );
    machine.backs_up();
    assert!(machine.logged().contains(&"app shop".to_owned()));
}

#[test]
fn a_snapshot_of_the_file_system_is_read_in_place_and_lets_everything_go_on_early() {
    let machine = machine("");
    let (files, copy) = (machine.bench.path("files"), machine.bench.path("copy"));
    let note = files.join("note");
    let begin = format!(
        "cp -a {0} {1}; echo '{{\"source\": \"{1}\", \"for\": \"{0}\"}}' >&3; echo later >{2}",
        files.display(),
        copy.display(),
        note.display()
    );
    machine.stopper("btrfs", &begin, &format!("rm -r {}", copy.display()));
    // Another hook puts a folder in place of one, which must be there until all is read.
    let (other, instead) = (machine.bench.folder("other"), machine.bench.path("instead"));
    machine.bench.file("other/live", "live");
    let begin = format!(
        "mkdir {0}; echo kept >{0}/live; echo '{{\"source\": \"{0}\", \"for\": \"{1}\"}}' >&3",
        instead.display(),
        other.display()
    );
    machine.stopper("extra", &begin, &format!("rm -r {}", instead.display()));
    let more = format!(
        "paths = [\"{}\", \"{}\"]\n[[profile.shop.hook]]\nrun = \"extra\"\n[profile.shop.snapshot]\nfilesystem = \"btrfs\"\n{STILL}{DUMPED}{}",
        files.display(),
        other.display(),
        machine.moments()
    );
    machine.bench.file("bk.toml", format!("[profile.shop]\n{more}"));
    machine.backs_up();
    let id = newest(&machine);
    let expected = [
        "before shop",
        "service begin",
        "container begin",
        "extra begin",
        "dump",
        "btrfs begin",
        "container end container ran",
        "service end service ran",
        "btrfs end btrfs ran",
        "extra end extra ran",
        &format!("after shop complete {id}"),
        &format!("finally shop complete {id}"),
    ];
    assert_eq!(machine.logged(), expected);
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "later\n");
    assert_eq!(machine.note_of("shop"), "first", "under the name of what was copied");
    assert_eq!(machine.run(&["dump", "shop", other.join("live").to_str().unwrap()]).exits(0).stdout, "kept\n");
    assert!(!copy.exists() && !instead.exists());
}

#[test]
fn what_stood_still_goes_on_when_the_backup_fails() {
    let machine = machine("exit 9");
    machine.run(&["backup", "shop"]).exits(4);
    let id = newest(&machine);
    let expected = [
        "before shop",
        "service begin",
        "container begin",
        "dump",
        "container end container ran",
        "service end service ran",
        &format!("failed shop incomplete {id}"),
        &format!("finally shop incomplete {id}"),
    ];
    assert_eq!(machine.logged(), expected);
    // There is no snapshot at all when the files are gone.
    std::fs::remove_dir_all(machine.bench.path("files")).unwrap();
    machine.configure(&format!("{STILL}{}", machine.moments()));
    machine.run(&["backup", "shop"]).exits(1);
    assert_eq!(
        machine.logged()[3..],
        ["container end container ran", "service end service ran", "failed shop failed", "finally shop failed"]
    );
    assert_eq!(machine.journal(), 0);
}

#[test]
fn what_cannot_stand_still_is_backed_up_and_not_called_complete() {
    let machine = machine("");
    machine.stopper("container", "exit 1", "");
    machine.run(&["backup", "shop"]).exits(4).says("did not stand still").says("INCOMPLETE");
    let expected = [
        "before shop",
        "service begin",
        "container begin",
        "dump",
        "container end container ran",
        "service end service ran",
    ];
    let logged = machine.logged();
    assert_eq!(logged[..expected.len()], expected);
    assert!(logged[expected.len()].starts_with("failed shop incomplete "), "{logged:?}");
    assert!(logged[expected.len() + 1].starts_with("finally shop incomplete "), "{logged:?}");
    assert_eq!(machine.snapshots().len(), 1);
    // So is a file system of which there is no snapshot.
    machine.stopper("container", "", "");
    machine.stopper("btrfs", "exit 1", "");
    machine.configure(&format!("{STILL}[profile.shop.snapshot]\nfilesystem = \"btrfs\"\n"));
    machine.run(&["backup", "shop"]).exits(4).says("did not stand still").says("INCOMPLETE");
    assert_eq!(
        machine.logged()[2..],
        ["btrfs begin", "btrfs end btrfs ran", "container end container ran", "service end service ran"]
    );
    assert_eq!((machine.snapshots().len(), machine.journal()), (2, 0));
}

#[test]
fn a_signal_ends_the_run_and_lets_everything_go_on() {
    for (sent, name) in [(Signal::INT, "int"), (Signal::TERM, "term"), (Signal::HUP, "hup")] {
        let machine = machine("sleep 300");
        let mark = format!("{name}-{}", std::process::id());
        let child = machine.start_until("dump", &mark);
        signal(child.id() as i32, sent);
        let started = std::time::Instant::now();
        finished(child).exits(130);
        assert!(started.elapsed().as_secs() < 20, "{name}");
        let expected = [
            "before shop",
            "service begin",
            "container begin",
            "dump",
            "container end container ran",
            "service end service ran",
            "failed shop failed",
            "finally shop failed",
        ];
        assert_eq!(machine.logged(), expected, "{name}");
        assert_eq!(machine.journal(), 0);
        assert_eq!(processes(&format!("{MARK}={mark}")), [], "{name}");
        assert_eq!(machine.snapshots().len(), 0);
    }
}

#[test]
fn after_a_kill_the_next_run_lets_everything_go_on_once_and_says_so() {
    let machine = machine("sleep 300");
    let mark = format!("kill-{}", std::process::id());
    let mut child = machine.start_until("dump", &mark);
    child.kill().unwrap();
    child.wait().unwrap();
    for (id, _) in processes(&format!("{MARK}={mark}")) {
        signal(id, Signal::KILL);
    }
    assert_eq!(machine.journal(), 2);
    assert_eq!(machine.logged().last().unwrap(), "dump", "nobody ended anything");
    // Any backup will do, also of something else.
    let other = machine.bench.folder("other");
    let said = machine.run(&["backup", other.to_str().unwrap()]).exits(0);
    said.says("an earlier run for shop ended before `container` had set going again").says("`service`");
    assert_eq!(machine.logged(), ["container end container ran", "service end service ran"]);
    let said = machine.run(&["backup", other.to_str().unwrap()]).exits(0);
    assert!(!said.text().contains("an earlier run") && machine.logged().is_empty() && machine.journal() == 0);
}

#[test]
fn a_run_does_not_end_what_another_that_lives_has_begun() {
    let machine = machine("sleep 300");
    let mark = format!("live-{}", std::process::id());
    let child = machine.start_until("dump", &mark);
    let other = machine.bench.folder("other");
    let said = machine.run(&["backup", other.to_str().unwrap()]).exits(0);
    assert!(!said.text().contains("an earlier run"), "{}", said.text());
    assert_eq!(machine.logged().last().unwrap(), "dump");
    signal(child.id() as i32, Signal::TERM);
    finished(child).exits(130);
    assert_eq!(machine.logged()[..2], ["container end container ran", "service end service ran"]);
}

#[test]
fn what_could_not_go_on_is_said_and_tried_again() {
    let machine = machine("");
    let stuck = machine.bench.file("stuck", "");
    machine.stopper("service", "", &format!("[ ! -e {} ]", stuck.display()));
    let said = machine.run(&["backup", "shop"]).exits(4);
    said.says("what `service` stopped for shop is NOT going again");
    assert_eq!(machine.journal(), 1);
    machine.logged();
    std::fs::remove_file(stuck).unwrap();
    machine.backs_up().says("an earlier run for shop");
    let ends = machine.logged().into_iter().filter(|line| line.starts_with("service end")).count();
    assert_eq!((ends, machine.journal()), (2, 0), "of the earlier run and of this one");
}

#[test]
fn a_command_before_that_fails_ends_warns_or_is_ignored_as_the_user_says() {
    let machine = machine("");
    let with = |on_failure: &str| {
        let before = format!("{}on-failure = \"{on_failure}\"\n", machine.moment("before", "; exit 3"));
        let rest: String = ["after", "failed", "finally"].iter().map(|name| machine.moment(name, "")).collect();
        machine.configure(&format!("{STILL}{before}{rest}"));
    };
    with("fail");
    machine.run(&["backup", "shop"]).exits(4).says("moment `before`");
    assert_eq!(machine.logged(), ["before shop", "failed shop failed", "finally shop failed"]);
    with("warn");
    machine.backs_up().says("before (shop)");
    assert_eq!(machine.logged()[..2], ["before shop", "service begin"]);
    assert_eq!(machine.snapshots().len(), 1);
    with("ignore");
    let said = machine.backs_up();
    assert!(!said.text().contains("before (shop)"));
    // One that fails afterwards does not make the snapshot worse, but is told by the exit code.
    machine.configure(&machine.moment("after", "; exit 3"));
    machine.run(&["backup", "shop"]).exits(4).says("moment `after`").says("is complete");
    // One that hangs is ended.
    machine.configure(&format!("{}time-limit = \"1s\"\n", machine.moment("before", "; sleep 300")));
    machine.run(&["backup", "shop"]).exits(4).says("1 s");
}

#[test]
fn hooks_of_ones_own_that_fail_in_any_way_make_no_good_backup() {
    let machine = machine("");
    machine.configure(DUMPED);
    machine.backs_up();
    let stream = "echo '{\"stream\": \"own.txt\"}' >&3";
    let cases = [
        ("exit 75".to_owned(), "found nothing to dump"),
        ("exit 1".to_owned(), "exit code 1"),
        (format!("case $1 in probe) {stream} ;; prove) exit 75 ;; *) exit 1 ;; esac"), "exit code 1"),
        (format!("case $1 in probe) {stream} ;; *) exit 75 ;; esac"), "after it had named this"),
        (format!("case $1 in probe) {stream} ;; dump) echo x ;; prove) cat >/dev/null; exit 1 ;; esac"), "not whole"),
        (format!("case $1 in probe) {stream} ;; dump) echo x; kill -9 $$ ;; *) exit 75 ;; esac"), "signal"),
        ("echo 'garbage {{' >&3".to_owned(), "no database to dump"),
        ("echo '{\"stream\": \"../../etc/passwd\"}' >&3".to_owned(), "cannot be a file"),
        (format!("case $1 in probe) {stream} ;; dump) echo x; sleep 300 & ;; *) exit 75 ;; esac"), "output"),
    ];
    for (number, (script, words)) in cases.iter().enumerate() {
        machine.hook("own", script);
        let mark = format!("own-{number}-{}", std::process::id());
        machine.fails_while(words, |mut command| Said::by(command.env(MARK, &mark)));
        assert_eq!(processes(&format!("{MARK}={mark}")), [], "{script}");
    }
    // Facts that are none lose nothing else, and are told.
    machine.hook("own", &format!("case $1 in probe) {stream} ;; dump) echo x; echo garbage >&3 ;; *) exit 75 ;; esac"));
    machine.backs_up().says("which is no fact");
    // A process that does not hold the output does not outlive the run, and spoils nothing.
    let quiet =
        format!("case $1 in probe) {stream} ;; dump) echo x; sleep 300 >/dev/null 2>&1 3>&- & ;; *) exit 75 ;; esac");
    machine.hook("own", &quiet);
    let mark = format!("quiet-{}", std::process::id());
    Said::by(machine.bk(&["backup", "shop"]).env(MARK, &mark)).exits(0);
    assert_eq!(processes(&format!("{MARK}={mark}")), []);
}
