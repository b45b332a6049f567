//! A signal in every phase of a run: what stood still goes on, no lock stays, the record can be read, and the next run
//! is complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::several::s3_server::bad_day::{Rule, Trouble};
use super::several::wait_for;
use super::{Bench, TOLD, events, hook, told};

/// Where a run is when the signal comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In a command of the user before the backup.
    Before,
    /// While something is stopped.
    Begin,
    /// While a program prints its dump.
    Dump,
    /// While packs are put.
    Packs,
    /// While the snapshot is put.
    Snapshot,
    /// While old snapshots are deleted.
    Forget,
    /// While the packs are listed that nobody may need.
    Prune,
    /// While somebody is told.
    Tell,
}

impl Phase {
    const ALL: [Self; 8] =
        [Self::Before, Self::Begin, Self::Dump, Self::Packs, Self::Snapshot, Self::Forget, Self::Prune, Self::Tell];

    /// The request that is kept waiting.
    const fn request(self) -> Option<&'static str> {
        match self {
            Self::Packs => Some("PUT packs"),
            Self::Snapshot => Some("PUT snapshots"),
            Self::Forget => Some("DELETE snapshots"),
            Self::Prune => Some("LIST packs"),
            _ => None,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Begin => "begin",
            Self::Dump => "dump",
            Self::Tell => "tell",
            _ => "nothing",
        }
    }
}

/// Shell that waits for `go` in the phase that the file `stop-in` names.
fn pause(bench: &Bench, word: &str) -> String {
    let here = bench.folder.path().display();
    format!(
        "if [ \"$(cat {here}/stop-in 2>/dev/null)\" = {word} ]; then touch {here}/at; \
         while [ ! -e {here}/go ]; do sleep 0.02; done; fi"
    )
}

/// A profile in a bucket with a command before, something that is stopped, and a dump.
fn machine() -> Bench {
    let bench = Bench::of_files(true, 2000);
    let log = bench.path("log");
    let log = log.display();
    let script = format!(
        "case $1 in\nbegin) echo '{{\"state\": \"ran\"}}' >&3; echo begin >>{log}\n{}\n;;\nend) echo end >>{log} ;;\n\
         probe) echo '{{\"stream\": \"own.txt\", \"about\": \"all\"}}' >&3 ;;\ndump) echo dumped\n{}\n;;\n*) exit 75 ;; esac",
        pause(&bench, "begin"),
        pause(&bench, "dump"),
    );
    hook(&bench, "service", &script.replace("probe)", "never)"));
    hook(&bench, "own", &script.replace("begin)", "never)"));
    super::executable(&bench.path("before.sh"), &pause(&bench, "before"));
    super::executable(&bench.path("tell.sh"), &format!("{}\ncat >>$1; echo >>$1", pause(&bench, "tell")));
    let told =
        TOLD.replace("[\"sh\", \"-c\", \"cat >>HERE/told; echo >>HERE/told\"]", "[\"HERE/tell.sh\", \"HERE/told\"]");
    bench.configure(&format!(
        "[defaults]\nto = [\"far\"]\n[profile.wiki.keep]\nfar = {{ last = 1 }}\n[profile.wiki.quiesce]\nhow = \"stop\"\n\
         units = [\"app\"]\n[[profile.wiki.before]]\nrun = [\"HERE/before.sh\"]\n[[profile.wiki.database]]\n\
         engine = \"own\"\n{told}"
    ));
    bench.expect(0, &["init", "--repo", "far"]);
    for _ in 0..3 {
        bench.expect(0, &["run"]);
    }
    bench
}

fn lines(bench: &Bench, line: &str) -> usize {
    let text = std::fs::read_to_string(bench.path("log")).unwrap_or_default();
    text.lines().filter(|one| *one == line).count()
}

/// Lets a run come to `phase`, sends the signal, and lets everything go on; gives the exit code.
fn stopped(bench: &Bench, phase: Phase, signal: Signal, round: u64) -> Option<i32> {
    for name in ["at", "go", "stop-in"] {
        let _ = std::fs::remove_file(bench.path(name));
    }
    std::fs::write(bench.path("source/sub/0"), super::several::bytes(1000 + round, 2000)).unwrap();
    let gate = Arc::new(AtomicBool::new(false));
    let held = bench.server().held();
    match phase.request() {
        Some(request) => bench.server().plan([Rule::always(request, Trouble::Gate(Arc::clone(&gate)))]),
        None => std::fs::write(bench.path("stop-in"), phase.word()).unwrap(),
    }
    let mut run = bench.start(&["run"]);
    wait_for(&format!("{phase:?}"), || {
        assert!(run.ended().is_none(), "{phase:?}: the run has ended before");
        (bench.path("at").exists() || bench.server().held() > held).then_some(())
    });
    run.signal(signal);
    std::thread::sleep(std::time::Duration::from_millis(50));
    std::fs::write(bench.path("go"), "").unwrap();
    gate.store(true, Ordering::Relaxed);
    let code = run.ends();
    bench.server().refuse_no_more();
    code
}

fn each_phase(signal: Signal) {
    let bench = machine();
    for (round, phase) in Phase::ALL.into_iter().enumerate() {
        told(&bench);
        let code = stopped(&bench, phase, signal, round as u64);
        let (begun, ended) = (lines(&bench, "begin"), lines(&bench, "end"));
        if signal == Signal::KILL {
            assert_eq!(code, None, "{phase:?}");
        } else {
            // Whoever is told last is not part of what was to be done.
            let expected: &[i32] = if phase == Phase::Tell { &[0, 130] } else { &[130] };
            assert!(expected.contains(&code.unwrap_or(-1)), "{phase:?}: {code:?}");
            assert_eq!(begun, ended, "{phase:?}: something still stands still");
        }
        bench.json(0, &["status", "wiki"]);
        // The next run sets right what stood still, waits for nobody, and is complete.
        std::fs::write(bench.path("stop-in"), "").unwrap();
        told(&bench);
        bench.expect(0, &["run", "--lock-wait", "0s"]);
        assert_eq!(lines(&bench, "begin"), lines(&bench, "end"), "{phase:?}");
        let said = events(&told(&bench));
        let died = said.iter().filter(|one| *one == "failed -").count();
        assert_eq!(died, usize::from(signal == Signal::KILL), "{phase:?}: {said:?}");
        assert!(said.contains(&"complete wiki".to_owned()), "{phase:?}: {said:?}");
        bench.expect(0, &["run"]);
        assert_eq!(events(&told(&bench)), ["complete wiki"], "{phase:?}");
    }
    bench.expect(0, &["check", "--read-data"]);
    bench.expect(0, &["status"]);
    bench.restores("far");
    let left = std::fs::read_dir(bench.path("data/quiesced")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the journal is empty");
}

#[test]
fn ctrl_c_in_any_phase_leaves_everything_in_order() {
    each_phase(Signal::INT);
}

#[test]
fn the_end_of_the_service_in_any_phase_leaves_everything_in_order() {
    each_phase(Signal::TERM);
}

#[test]
fn the_end_of_the_terminal_in_any_phase_leaves_everything_in_order() {
    each_phase(Signal::HUP);
}

#[test]
fn death_in_any_phase_leaves_everything_in_order_for_the_next_run() {
    each_phase(Signal::KILL);
}
