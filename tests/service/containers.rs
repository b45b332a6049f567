//! Containers, with the real podman: an image made here of busybox and Redis, without a network or a registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;

use super::quiesce::{DUMPED, finished};
use super::servers::{Redis, done};
use super::trees::{is_root, skipped};
use super::{MARK, Machine, processes, signal, text, wait_for};

/// A machine with a podman of its own.
pub struct Podman {
    pub machine: Machine,
}

/// What containers are started with: no more than what a machine without all power can give them.
pub const PLAIN: [&str; 9] = [
    "--network=none",
    "--privileged",
    "--pids-limit=0",
    "--ulimit=nofile=512:512",
    "--ulimit=nproc=512:512",
    "--log-driver=none",
    "--no-hosts",
    "--restart=no",
    "--workdir=/",
];

impl Podman {
    /// `None` where containers cannot run, which is said.
    pub fn new() -> Option<Self> {
        if !is_root() {
            skipped("containers", "only root can run them here");
            return None;
        }
        for (program, package) in [("/usr/bin/podman", "podman"), ("/bin/busybox", "busybox-static")] {
            assert!(Path::new(program).exists(), "{package} is not here; `tests/run` installs what the tests need");
        }
        let mut machine = Machine::new("");
        machine.stand_in(&["podman"], include_str!("programs/podman"));
        let podman = Self { machine };
        podman.make_image();
        let arguments = [&["run", "--rm"][..], &PLAIN, &["bk-test", "/bin/true"]].concat();
        let probe = podman.podman(&arguments);
        if !probe.status.success() {
            let said = text(&probe).to_lowercase();
            let forbidden = ["not permitted", "permission denied", "cgroup", "namespace", "not supported"];
            assert!(forbidden.iter().any(|word| said.contains(word)), "the image does not run: {said}");
            skipped("containers", said);
            return None;
        }
        Some(podman)
    }

    /// busybox, and Redis with the libraries that it needs.
    fn make_image(&self) {
        self.image(
            "bk-test",
            &["redis-server", "redis-cli", "redis-check-rdb"].map(|name| Path::new("/usr/bin").join(name)),
            &[],
        );
    }

    /// An image of busybox, some programs with the libraries that they need, and some folders.
    pub fn image(&self, name: &str, programs: &[PathBuf], folders: &[&str]) {
        let root = self.machine.bench.folder(&format!("root-of-{name}"));
        let target = |path: &Path| {
            let to = root.join(path.strip_prefix("/").unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            to
        };
        let copy = |path: &Path| {
            std::fs::copy(path, target(path)).unwrap();
        };
        copy(Path::new("/bin/busybox"));
        for name in ["sh", "sleep", "true", "cat", "mv", "rm", "tail", "id", "mkdir", "sed", "test"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        for folder in folders.iter().map(Path::new) {
            done(Command::new("cp").arg("-rL").arg(folder).arg(target(folder)));
        }
        for path in programs {
            copy(path);
            let libraries = done(Command::new("ldd").arg(path));
            libraries.split_whitespace().filter(|word| word.starts_with('/')).for_each(|word| copy(Path::new(word)));
        }
        std::fs::create_dir(root.join("etc")).unwrap();
        let users = "root:x:0:0::/:/bin/sh\nredis:x:990:990::/tmp:/bin/sh\npostgres:x:991:991::/tmp:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), users).unwrap();
        std::fs::create_dir(root.join("tmp")).unwrap();
        done(Command::new("chmod").args(["-R", "go+rX"]).arg(&root));
        done(Command::new("chmod").arg("1777").arg(root.join("tmp")));
        let tar = self.machine.bench.path("image.tar");
        done(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("."));
        let path = programs.first().and_then(|path| path.parent()).unwrap();
        let change = format!("ENV PATH={}:/bin:/usr/bin", path.display());
        let said = self.podman(&["import", "--change", &change, tar.to_str().unwrap(), name]);
        assert!(said.status.success(), "{}", text(&said));
        super::trees::clean(&root);
        std::fs::remove_file(tar).unwrap();
    }

    pub fn podman(&self, arguments: &[&str]) -> Output {
        Command::new(self.machine.bench.path("programs/podman")).args(arguments).output().unwrap()
    }

    /// From here on also those that others start are given no more than this machine can give.
    pub(super) fn gives_what_it_can(&self) {
        let programs = self.machine.bench.path("programs");
        std::fs::rename(programs.join("podman"), programs.join("podman-itself")).unwrap();
        // What they ask for themselves stays as it is.
        let own: Vec<&str> = PLAIN.into_iter().filter(|option| !option.starts_with("--network")).collect();
        let script = format!(
            "case $1 in run) shift; set -- run {} \"$@\" ;; esac\nexec '{}' \"$@\"",
            own.join(" "),
            programs.join("podman-itself").display()
        );
        super::executable(&programs.join("podman"), &script);
    }

    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.podman(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a container with the data folder of the profile at /data.
    #[track_caller]
    pub(super) fn start(&self, name: &str, command: &[&str]) {
        let volume = format!("--volume={}:/data", self.machine.bench.path("files").display());
        self.must(&[&["run", "--detach", "--name", name, &volume][..], &PLAIN, &["bk-test"], command].concat());
    }

    /// One that writes when it begins and ends; it ends at once when it is asked to.
    fn start_service(&self, name: &str) {
        let script = format!(
            "trap 'echo shut >/data/{name}; echo {name} ended >>/data/log; exit 0' TERM\n\
             echo open >/data/{name}; echo {name} began >>/data/log\nwhile :; do sleep 0.05; done"
        );
        self.start(name, &["/bin/sh", "-c", &script]);
        let file = self.machine.bench.path(&format!("files/{name}"));
        wait_for("the container", || file.exists().then_some(()));
    }

    fn state(&self, name: &str) -> String {
        self.must(&["container", "inspect", "--format", "{{.State.Status}}", name])
    }

    fn states(&self) -> [String; 3] {
        ["app", "idle", "db"].map(|name| self.state(name))
    }

    /// Waits until what was started has begun; gives the order in which containers ended and began.
    #[track_caller]
    fn ended_and_began(&self, lines: usize) -> Vec<String> {
        let log = self.machine.bench.path("files/log");
        let text =
            wait_for("the end", || std::fs::read_to_string(&log).ok().filter(|text| text.lines().count() >= lines));
        std::fs::remove_file(log).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
        // What watches a container is told by its folder.
        for (id, _) in processes(&format!("{}/root", self.machine.bench.path("state").display())) {
            signal(id, Signal::KILL);
        }
        for mount in std::fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
            let point = mount.split(' ').nth(1).unwrap_or_default();
            if point.starts_with(self.machine.bench.path("state").to_str().unwrap()) {
                let _ = Command::new("umount").args(["-l", point]).output();
            }
        }
    }
}

fn still(how: &str, names: &str) -> String {
    format!("[profile.shop.quiesce]\nhow = \"{how}\"\ncontainers = [{names}]\n")
}

/// Two containers that run and one that does not.
fn three() -> Option<Podman> {
    let podman = Podman::new()?;
    podman.start_service("db");
    podman.start_service("app");
    podman.start_service("idle");
    podman.must(&["stop", "idle"]);
    podman.ended_and_began(4);
    Some(podman)
}

const NAMES: &str = "\"app\", \"idle\", \"db\"";
const AS_BEFORE: [&str; 3] = ["running", "exited", "running"];

#[test]
fn containers_are_stopped_in_their_order_and_those_that_ran_are_started_in_reverse() {
    let Some(podman) = three() else { return };
    let machine = &podman.machine;
    machine.configure(&still("stop", NAMES));
    machine.backs_up();
    assert_eq!(podman.states(), AS_BEFORE);
    assert_eq!(podman.ended_and_began(4), ["app ended", "db ended", "db began", "app began"]);
    let below = machine.restored("shop").join(machine.bench.path("files").strip_prefix("/").unwrap());
    for name in ["app", "db", "idle"] {
        assert_eq!(std::fs::read_to_string(below.join(name)).unwrap(), "shut\n", "{name} while it was read");
    }
    // After a dump that failed.
    machine.dumper("exit 9");
    machine.configure(&format!("{}{DUMPED}", still("stop", NAMES)));
    machine.fails("exit code 9");
    assert_eq!((podman.states().each_ref().map(String::as_str), machine.journal()), (AS_BEFORE, 0));
    podman.ended_and_began(4);
    // Nothing is stopped when one is not there.
    machine.configure(&still("stop", "\"app\", \"nothing\""));
    machine.fails("there is no container nothing");
    assert_eq!(podman.states(), AS_BEFORE);
    assert!(!machine.bench.path("files/log").exists());
    // After a kill.
    machine.dumper("sleep 300");
    machine.configure(&format!("{}{DUMPED}", still("stop", NAMES)));
    machine.logged();
    let mark = format!("containers-{}", std::process::id());
    let child = machine.start_until("dump", &mark);
    signal(child.id() as i32, Signal::KILL);
    for (id, _) in processes(&format!("{MARK}={mark}")) {
        signal(id, Signal::KILL);
    }
    assert!(!finished(child).status.success());
    assert_eq!(podman.states(), ["exited"; 3]);
    let other = machine.bench.folder("other");
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    assert_eq!((podman.states().each_ref().map(String::as_str), machine.journal()), (AS_BEFORE, 0));
    assert_eq!(podman.ended_and_began(4), ["app ended", "db ended", "db began", "app began"]);
}

#[test]
fn containers_are_paused_and_go_on() {
    let Some(podman) = Podman::new() else { return };
    let machine = &podman.machine;
    // Two counters in step, one written after the other, and a lot to read between them.
    let script =
        "i=0; while :; do i=$((i+1)); for f in a z; do echo $i >/data/$f.new; mv /data/$f.new /data/$f; done; done";
    for number in 0..200 {
        machine.bench.file(&format!("files/between/{number}"), super::trees::noise(number, 20_000));
    }
    podman.start("app", &["/bin/sh", "-c", script]);
    podman.start("asleep", &["/bin/sh", "-c", "while :; do sleep 1; done"]);
    podman.must(&["pause", "asleep"]);
    let count = |folder: PathBuf, name: &str| -> Option<i64> {
        std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    let files = machine.bench.path("files");
    wait_for("a count", || count(files.clone(), "z"));
    machine.configure(&still("pause", "\"app\", \"asleep\""));
    machine.backs_up();
    assert_eq!(["app", "asleep"].map(|name| podman.state(name)), ["running", "paused"], "as they were");
    let below = machine.restored("shop").join(files.strip_prefix("/").unwrap());
    let (first, last) = (count(below.clone(), "a").unwrap(), count(below, "z").unwrap());
    assert!(first - last == 0 || first - last == 1, "{first} and {last} are not of one moment");
    let now = count(files.clone(), "z").unwrap();
    wait_for("more", || (count(files.clone(), "z")? > now).then_some(()));
    assert!(machine.called("podman pause ").ends_with(&["podman pause app".to_owned()]));
}

#[test]
fn a_database_in_a_container_is_dumped_by_the_programs_there() {
    let Some(podman) = Podman::new() else { return };
    let machine = &podman.machine;
    let server = [
        "/usr/bin/redis-server",
        "--save",
        "",
        "--dir",
        "/tmp",
        "--requirepass",
        "a word",
        "--enable-debug-command",
        "yes",
    ];
    podman.start("store", &server);
    let client = |command: &[&str]| {
        let client = ["exec", "--env", "REDISCLI_AUTH=a word", "store", "/usr/bin/redis-cli"];
        podman.podman(&[&client[..], command].concat())
    };
    wait_for("redis", || client(&["PING"]).stdout.starts_with(b"PONG").then_some(()));
    assert!(client(&["DEBUG", "POPULATE", "1000", "key", "50"]).status.success());
    let password = machine.password("a word");
    let with = |container: &str, password: &str| {
        machine.configure(&format!(
            "[[profile.shop.database]]\nengine = \"redis\"\ncontainer = {{ name = \"{container}\" }}\n{password}"
        ));
    };
    with("store", &format!("password-file = \"{password}\"\n"));
    machine.backs_up();
    let dump = machine.restored("shop").join(".bk/dumps/redis/dump.rdb");
    let again = Redis::start_with(Some(&dump), &[]);
    let digest = String::from_utf8(client(&["DEBUG", "DIGEST"]).stdout).unwrap();
    assert_eq!((again.run("DBSIZE").as_str(), again.run("DEBUG DIGEST").as_str()), ("1000", digest.trim()));
    with("store", "");
    machine.fails("cannot log in");
    with("nothing", "");
    machine.fails("cannot run programs in the container nothing");
    podman.must(&["stop", "--time", "0", "store"]);
    with("store", &format!("password-file = \"{password}\"\n"));
    machine.fails("cannot run programs in the container store");
}
