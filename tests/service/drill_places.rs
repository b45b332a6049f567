//! Where a drill happens, and what is left of it: nothing, however it ends.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::containers::Podman;
use super::drill::{left, passes, verdicts};
use super::failures::programs_without;
use super::servers::{MariaDb, Postgres, Redis};
use super::trees::{Said, is_root, skipped};
use super::{MARK, Machine, processes, signal, text, wait_for};

const TABLE: &str = "CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i;";

#[track_caller]
fn is_not_tried(said: &Said, words: &[&str]) {
    let all = verdicts(said);
    let verdict = all.values().next().unwrap();
    assert_eq!(verdict.outcome, "not-run", "{verdict:?}");
    for words in words {
        assert!(verdict.words.contains(words), "{words} is not in {verdict:?}");
    }
}

#[test]
fn a_dump_of_a_newer_server_than_those_here_is_not_tried_and_what_to_install_is_said() {
    let note = "cat \"$f\"; printf '%s\\n' '{\"note\": {\"version\": \"99.9\"}}' >&3";
    let postgres = Postgres::start();
    postgres.make("shop", TABLE);
    let mariadb = MariaDb::start();
    mariadb.make("shop", "CREATE TABLE t (i INT);");
    for (settings, engine, note, install) in [
        (postgres.settings(), "postgres", note.replace("99.9", "99"), "install the server (Debian: postgresql-99)"),
        (mariadb.settings(), "mariadb", note.to_owned(), "install a server of that version"),
    ] {
        let machine = Machine::new(&format!("[[profile.shop.database]]\n{settings}name = \"shop\"\n"));
        machine.edits_dumps(engine, &note);
        machine.judges(8);
        let said = machine.verifies(8);
        is_not_tried(&said, &["the dump is of ", " 99", install]);
        assert_eq!(said.json()["verified"], false);
        machine.run(&["verify", "shop"]).exits(8).says("was NOT TRIED").says("next: install").says("NOT ALL");
    }
}

#[test]
fn without_the_programs_of_a_server_nothing_passes_and_what_to_install_is_said() {
    let redis = Redis::start(&[]);
    redis.run("SET a b");
    let machine = Machine::new(&format!("[[profile.shop.database]]\n{}", redis.settings()));
    machine.backs_up();
    let mut command = machine.bk(&["--json", "verify", "shop"]);
    command.env("PATH", programs_without(&machine, &["redis-server", "valkey-server"]));
    let said = Said::by(&mut command).exits(8);
    is_not_tried(&said, &["there is no Redis server here", "install the server (Debian: redis-server)"]);
    if !is_root() {
        return skipped("PostgreSQL that is not installed", "only root can hide it");
    }
    let postgres = Postgres::start();
    postgres.make("shop", TABLE);
    machine.configure(&format!("[[profile.shop.database]]\n{}name = \"shop\"\n", postgres.settings()));
    machine.backs_up();
    // Its programs lie where the hook looks for them, whatever PATH says.
    let inner = machine.bk(&["--json", "verify", "shop"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    for (name, value) in inner.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    command.env("PATH", programs_without(&machine, &["initdb", "postgres"]));
    let said = Said::by(&mut command);
    if said.text().contains("Operation not permitted") {
        return skipped("PostgreSQL that is not installed", said.text());
    }
    is_not_tried(&said.exits(8), &["there is no PostgreSQL server here", "install the server (Debian: postgresql-15"]);
}

/// The folder of the throw-away server among these processes.
fn folder_of(mark: &str) -> Option<PathBuf> {
    let all = processes(mark);
    all.iter().find(|(_, name)| name == "psql")?;
    let arguments = |id: &i32| std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    all.iter().find_map(|(id, _)| {
        let line = String::from_utf8_lossy(&arguments(id)).into_owned();
        let folder = line.split('\0').find(|word| word.contains("/bk-drill-") && word.ends_with("/server/data"))?;
        Path::new(folder).parent()?.parent().map(Path::to_owned)
    })
}

#[test]
fn a_drill_that_is_stopped_or_killed_leaves_no_server_and_no_data() {
    let server = Postgres::start();
    server.make("shop", TABLE);
    let entry = format!("[[profile.shop.database]]\n{}name = \"shop\"\n", server.settings());
    let machine = Machine::new(&entry);
    machine.backs_up();
    for (at, how) in [Signal::TERM, Signal::INT, Signal::KILL].into_iter().enumerate() {
        machine
            .configure(&format!("{entry}[[profile.shop.drill]]\nname = \"slow\"\nquery = \"SELECT pg_sleep(50)\"\n"));
        let mark = format!("drill-{}-{at}", std::process::id());
        let mut command = machine.bk(&["verify", "shop", "--files", "none"]);
        command.env(MARK, &mark).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().unwrap();
        let mark = format!("{MARK}={mark}");
        let folder = wait_for("the throw-away server", || folder_of(&mark));
        let id = child.id() as i32;
        match how {
            // As a terminal does it.
            Signal::INT => kill_process_group(Pid::from_raw(id).unwrap(), how).unwrap(),
            how => signal(id, how),
        }
        let output = child.wait_with_output().unwrap();
        machine.configure(&entry);
        if how == Signal::KILL {
            passes(&verdicts(&machine.verifies(0)), "shop");
        } else {
            assert_eq!(output.status.code(), Some(130), "{}", text(&output));
            assert!(machine.snapshots()[0]["verification"].is_null());
        }
        wait_for("the end of all that was started", || processes(&mark).is_empty().then_some(()));
        assert!(!folder.exists(), "{how:?} left {}", folder.display());
        assert_eq!(left(&machine), [""; 0], "{how:?}");
    }
}

#[test]
fn a_database_of_a_container_is_drilled_in_its_image_without_a_network_and_without_it_on_this_machine() {
    let Some(podman) = Podman::new() else { return };
    let machine = &podman.machine;
    podman.start("store", &["/usr/bin/redis-server", "--save", "", "--dir", "/tmp", "--enable-debug-command", "yes"]);
    let client = |command: &[&str]| podman.podman(&[&["exec", "store", "/usr/bin/redis-cli"][..], command].concat());
    wait_for("redis", || client(&["PING"]).stdout.starts_with(b"PONG").then_some(()));
    assert!(client(&["DEBUG", "POPULATE", "1000", "key", "50"]).status.success());
    let entry = "[[profile.shop.database]]\nengine = \"redis\"\ncontainer = { name = \"store\" }\n";
    machine.configure(entry);
    machine.backs_up();
    podman.must(&["rm", "--force", "--time", "0", "store"]);
    podman.gives_what_it_can();
    machine.called("");
    let all = verdicts(&machine.verifies(0));
    passes(&all, "dump");
    let runs = machine.called("podman run ");
    assert!(all["dump"].server.contains("in a container of"), "{all:?}");
    let alone = |run: &String| run.contains("--network none") && run.contains("--pull never");
    assert!(runs.len() == 1 && runs.iter().all(alone), "{runs:?}");
    assert_eq!(podman.must(&["ps", "--all", "--quiet"]), "", "a container is left");
    // One that is killed leaves none for longer than until the next.
    let slow = "[[profile.shop.drill]]\nname = \"slow\"\nquery = \"XREAD BLOCK 30000 STREAMS s $\"\n";
    machine.configure(&format!("{entry}{slow}"));
    let interrupted = |how: Signal| {
        let mut command = machine.bk(&["verify", "shop", "--files", "none"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the container", || (!podman.must(&["ps", "--quiet"]).is_empty()).then_some(()));
        signal(child.id() as i32, how);
        child.wait().unwrap()
    };
    assert_eq!(interrupted(Signal::TERM).code(), Some(130));
    assert_eq!(podman.must(&["ps", "--all", "--quiet"]), "", "a container is left");
    interrupted(Signal::KILL);
    machine.configure(entry);
    passes(&verdicts(&machine.verifies(0)), "dump");
    wait_for("the end of the container", || podman.must(&["ps", "--all", "--quiet"]).is_empty().then_some(()));
    podman.must(&["rmi", "--force", "bk-test"]);
    let all = verdicts(&machine.verifies(0));
    passes(&all, "dump");
    assert!(all["dump"].server.contains("of this machine"), "{all:?}");
    let mut command = machine.bk(&["--json", "verify", "shop"]);
    let here = programs_without(machine, &["redis-server", "valkey-server", "podman", "docker"]);
    let said =
        Said::by(command.env("PATH", format!("{}:{}", machine.bench.path("programs").display(), here.display())));
    is_not_tried(&said.exits(8), &["there is no Redis server here", "install the server"]);
    assert_eq!(left(machine), [""; 0]);
}
