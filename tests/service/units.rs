//! Units of systemd, with a stand-in for systemctl.

use std::path::PathBuf;

use rustix::process::Signal;

use super::quiesce::{DUMPED, finished};
use super::{MARK, Machine, processes, signal};

const STILL: &str = "[profile.shop.quiesce]\nhow = \"stop\"\nunits = [\"app\", \"idle\", \"db.service\"]\n";

/// A machine with three units, of which `idle` does not run; gives the folder of what systemd knows.
fn machine(more: &str) -> (Machine, PathBuf) {
    let mut machine = Machine::new(&format!("{STILL}{more}"));
    let state = machine.stand_in(&["systemctl"], include_str!("programs/systemctl"));
    for (name, how) in [("app", "active"), ("idle", "inactive"), ("db", "active")] {
        machine.bench.file(&format!("state/units/{name}.service"), how);
    }
    (machine, state)
}

fn states(machine: &Machine) -> Vec<String> {
    let path = |name| machine.bench.path(&format!("state/units/{name}.service"));
    ["app", "idle", "db"].map(|name| std::fs::read_to_string(path(name)).unwrap().trim().to_owned()).to_vec()
}

/// What was stopped and started, in this order.
fn changes(machine: &Machine) -> Vec<String> {
    let mut all = machine.called("st");
    all.retain(|call| !call.contains(" show "));
    all.iter().map(|call| call.replace("stemctl ", "")).map(|call| call.trim_start_matches("sy").to_owned()).collect()
}

#[test]
fn units_are_stopped_while_files_are_read_and_those_that_ran_are_started_in_reverse() {
    let (machine, state) = machine("");
    machine.dumper(&format!("cat {}/units/*", state.display()));
    machine.configure(&format!("{STILL}{DUMPED}"));
    machine.backs_up();
    let dump = std::fs::read_to_string(machine.restored("shop").join(".bk/dumps/own/own.txt")).unwrap();
    assert_eq!(dump, "dumped\ninactive\ninactive\ninactive\n");
    assert_eq!(states(&machine), ["active", "inactive", "active"]);
    let expected = ["stop -- app", "stop -- idle", "stop -- db.service", "start -- db.service", "start -- app"];
    assert_eq!(changes(&machine), expected);
    // They are started again after a dump that failed.
    machine.dumper("exit 9");
    machine.fails("exit code 9");
    assert_eq!(states(&machine), ["active", "inactive", "active"]);
    assert_eq!((changes(&machine), machine.journal()), (expected.map(str::to_owned).to_vec(), 0));
}

#[test]
fn a_unit_that_cannot_be_stopped_or_is_not_there_keeps_none_stopped() {
    let (machine, state) = machine("");
    machine.backs_up();
    std::fs::write(state.join("stuck"), "db.service\n").unwrap();
    // What is stuck goes on running, which `start` would not mend: it is told, and tried again.
    machine.run(&["backup", "shop"]).exits(4).says("cannot stop the unit db.service").says("INCOMPLETE");
    assert_eq!(states(&machine), ["active", "inactive", "active"]);
    std::fs::remove_file(state.join("stuck")).unwrap();
    machine.backs_up();
    assert_eq!(machine.journal(), 0);
    machine.configure(&STILL.replace("db.service", "nothing"));
    changes(&machine);
    machine.fails("there is no unit nothing");
    assert_eq!((changes(&machine), machine.journal()), (vec![], 0));
}

#[test]
fn a_unit_that_does_not_start_is_told_and_started_by_the_next_run() {
    let (machine, state) = machine("");
    // It gets stuck once it was stopped.
    machine.dumper(&format!("echo app >{}/stuck", state.display()));
    machine.configure(&format!("{STILL}{DUMPED}"));
    machine.run(&["backup", "shop"]).exits(4).says("these units were not started again: app");
    assert_eq!(states(&machine), ["inactive", "inactive", "active"], "one does not keep the other from starting");
    std::fs::remove_file(state.join("stuck")).unwrap();
    let other = machine.bench.folder("other");
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    assert_eq!((states(&machine)[0].as_str(), machine.journal()), ("active", 0));
}

#[test]
fn after_a_kill_the_next_run_starts_what_ran() {
    let (machine, _state) = machine("");
    machine.dumper("sleep 300");
    machine.configure(&format!("{STILL}{DUMPED}"));
    let mark = format!("units-{}", std::process::id());
    let child = machine.start_until("dump", &mark);
    signal(child.id() as i32, Signal::KILL);
    for (id, _) in processes(&format!("{MARK}={mark}")) {
        signal(id, Signal::KILL);
    }
    assert!(!finished(child).status.success());
    assert_eq!(states(&machine), ["inactive", "inactive", "inactive"]);
    let other = machine.bench.folder("other");
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    assert_eq!((states(&machine), machine.journal()), (vec!["active".into(), "inactive".into(), "active".into()], 0));
}
