//! The program and a bucket: everything that works on a disk works there, nothing secret is shown, and what cannot be
//! used is said in one sentence with the next step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

#[path = "support/s3_server.rs"]
mod s3_server;

use std::path::PathBuf;
use std::process::{Command, Output};

use s3_server::bad_day::{Rule, Trouble};
use s3_server::{KEY_ID, Refusal, S3Server, SECRET};

/// A folder to back up, a bucket, and a configuration that names it `far`.
struct Bench {
    folder: tempfile::TempDir,
    server: S3Server,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { folder, server: S3Server::start() };
        std::fs::create_dir_all(bench.path("source/sub")).unwrap();
        for number in 0..40_u64 {
            let mut bytes = vec![0; 50_000];
            blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
            std::fs::write(bench.path(&format!("source/sub/{number}")), bytes).unwrap();
        }
        std::fs::write(bench.path("source/file"), b"content\n".repeat(1000)).unwrap();
        bench.credentials(KEY_ID, SECRET);
        let endpoint = bench.server.endpoint().to_owned();
        bench.configure(&format!("endpoint = \"{endpoint}\"\ncredentials-file = \"HERE/credentials\"\n"));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn credentials(&self, id: &str, secret: &str) {
        let text = format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n");
        std::fs::write(self.path("credentials"), text).unwrap();
    }

    /// What is said about the bucket; `HERE` is the folder of the test.
    fn configure(&self, bucket: &str) {
        let here = self.folder.path().to_str().unwrap();
        let text = format!(
            "[family]\nkey-file = \"HERE/key\"\n[repository.far]\nlocation = \"s3://backups/host1\"\n{bucket}\
             [profile.source]\nroot = \"HERE/source\"\n"
        );
        std::fs::write(self.path("bk.toml"), text.replace("HERE", here)).unwrap();
    }

    fn bk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        command.env("BK_CONFIG", self.path("bk.toml")).env("BK_DATA_DIR", self.path("data"));
        command.stdin(std::process::Stdio::null()).current_dir(self.folder.path()).args(arguments);
        command
    }

    /// Runs, expects an exit code and no secret; gives what was said.
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        self.said(code, arguments, &self.bk(arguments).output().unwrap())
    }

    fn said(&self, code: i32, arguments: &[&str], output: &Output) -> String {
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{said}");
        assert!(!said.contains("canary"), "bk {arguments:?} shows a secret\n{said}");
        // Lines are filled to the width of a terminal.
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_bucket_is_made_filled_read_checked_thinned_and_pruned() {
    let bench = Bench::new();
    let missing = bench.expect(10, &["snapshots"]);
    assert!(missing.contains("there is no repository at s3://backups/host1"), "{missing}");
    let made = bench.expect(0, &["init"]);
    assert!(made.contains("far: made (s3://backups/host1)"), "{made}");
    assert!(bench.expect(0, &["init"]).contains("there already"));
    bench.expect(0, &["backup", "source"]);
    for number in 30..40 {
        std::fs::remove_file(bench.path(&format!("source/sub/{number}"))).unwrap();
    }
    std::fs::write(bench.path("source/new"), "new\n").unwrap();
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["check", "--read-data"]);
    bench.expect(0, &["restore", "latest~1", "--to", "first"]);
    bench.expect(0, &["restore", "latest", "--to", "second"]);
    let found = |restored: &str, name: &str| {
        let copy = bench.path(restored).join("source");
        let inside = copy.join(bench.path("source").strip_prefix("/").unwrap());
        [copy.join(name), inside.join(name)].into_iter().find(|path| path.exists())
    };
    let file = found("first", "file").expect("the file is restored");
    assert_eq!(std::fs::read(file).unwrap(), b"content\n".repeat(1000));
    assert!(found("first", "sub/39").is_some() && found("second", "sub/39").is_none());
    assert!(found("second", "new").is_some());
    let first = bench.expect(0, &["--json", "snapshots"]);
    assert_eq!(first.matches("\"id\"").count(), 2, "{first}");
    bench.expect(0, &["forget", "--dry-run"]);
    bench.expect(0, &["prune"]);
    bench.expect(0, &["check", "--read-data"]);
    assert!(bench.expect(0, &["doctor"]).contains("s3://backups/host1 opens"));
    // Everything lies below the folder of the bucket that was named, and its time probes are gone.
    assert!(bench.server.object("host1/packs").is_dir());
    let left = std::fs::read_dir(bench.server.object("host1/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn a_run_that_finds_nothing_new_asks_little() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["backup", "source"]);
    bench.server.take_counts();
    bench.expect(0, &["backup", "source"]);
    let counts = bench.server.take_counts();
    let all: usize = counts.values().sum();
    assert!(all <= MOST_REQUESTS, "{all} requests: {counts:?}");
    println!("an unchanged run: {all} requests: {counts:?}");
    bench.expect(0, &["snapshots"]);
    println!("a list of snapshots: {:?}", bench.server.take_counts());
}

/// Of an unchanged run after two others; each is paid for, and waits for the network.
const MOST_REQUESTS: usize = 18;

#[test]
fn credentials_come_from_a_file_from_systemd_or_from_the_environment() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.configure(&format!("endpoint = \"{}\"\n", bench.server.endpoint()));
    let none = bench.expect(2, &["snapshots"]);
    assert!(none.contains("s3://backups/host1 has no credentials") && none.contains("credentials-file"), "{none}");
    let with_environment = |variables: &[(&str, &str)]| {
        let mut command = bench.bk(&["snapshots"]);
        command.envs(variables.iter().copied());
        bench.said(0, &["snapshots"], &command.output().unwrap())
    };
    with_environment(&[("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)]);
    std::fs::create_dir(bench.path("handed-over")).unwrap();
    std::fs::rename(bench.path("credentials"), bench.path("handed-over/bk-far")).unwrap();
    with_environment(&[("CREDENTIALS_DIRECTORY", bench.path("handed-over").to_str().unwrap())]);
}

#[test]
fn credentials_are_printed_by_a_program_or_stand_in_a_section_of_the_aws_file() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let configure = |line: &str| bench.configure(&format!("endpoint = \"{}\"\n{line}\n", bench.server.endpoint()));
    configure("credentials-command = [\"cat\", \"HERE/credentials\"]");
    bench.expect(0, &["backup", "source"]);
    let shown = bench.expect(0, &["config", "show"]);
    assert!(shown.contains("credentials-command") && !shown.contains("/credentials\""), "{shown}");
    configure("credentials-command = [\"sh\", \"-c\", \"echo canary\"]");
    let said = bench.expect(2, &["snapshots"]);
    assert!(said.contains("what `sh` of `credentials-command` prints are no credentials: line 1"), "{said}");
    configure("credentials-command = [\"false\"]");
    let said = bench.expect(4, &["snapshots"]);
    assert!(said.contains("`false`") || said.contains("false"), "{said}");
    let sections = format!(
        "[default]\naws_access_key_id = canary\naws_secret_access_key = canary\n\
         [backup]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
    );
    std::fs::create_dir(bench.path(".aws")).unwrap();
    std::fs::write(bench.path(".aws/credentials"), &sections).unwrap();
    configure("aws-profile = \"backup\"");
    bench.expect(0, &["snapshots"]);
    configure("aws-profile = \"elsewhere\"");
    let said = bench.expect(2, &["snapshots"]);
    assert!(said.contains("no credentials for the profile `elsewhere`: it has no such section"), "{said}");
    std::fs::rename(bench.path(".aws/credentials"), bench.path("credentials")).unwrap();
    configure("credentials-file = \"HERE/credentials\"");
    let said = bench.expect(2, &["snapshots"]);
    assert!(said.contains("has several sections") && said.contains("`aws-profile`"), "{said}");
    configure("aws-profile = \"backup\"");
    let mut command = bench.bk(&["snapshots"]);
    command.env("AWS_SHARED_CREDENTIALS_FILE", bench.path("credentials"));
    bench.said(0, &["snapshots"], &command.output().unwrap());
    configure("aws-profile = \"backup\"\ncredentials-file = \"HERE/credentials\"");
    let said = bench.expect(2, &["snapshots"]);
    assert!(said.contains("in more than one way what opens its server"), "{said}");
}

#[test]
fn what_a_run_asked_of_the_server_is_said_and_agrees_with_what_the_server_saw() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.server.take_counts();
    let told = bench.expect(0, &["--json", "backup", "source"]);
    let seen: usize = bench.server.take_counts().values().sum();
    let line = told[told.find("{\"").unwrap()..].to_owned();
    let summary: serde_json::Value = serde_json::Deserializer::from_str(&line).into_iter().next().unwrap().unwrap();
    let traffic = &summary["traffic"];
    assert_eq!(traffic["requests"], seen, "{summary}");
    let stored: u64 = walk_bytes(&bench.server.object("host1"));
    let sent = traffic["sent_bytes"].as_u64().unwrap();
    assert!(sent > 2_000_000 && sent <= stored, "{sent} of {stored}");
    assert!(traffic["received_bytes"].as_u64().unwrap() > 0);
    let said = bench.expect(0, &["-v", "backup", "source"]);
    assert!(said.contains("asked the server") && said.contains(" up, "), "{said}");
    assert!(!bench.expect(0, &["backup", "source"]).contains("asked the server"));
}

/// How many bytes lie below a folder.
fn walk_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| if entry.path().is_dir() { walk_bytes(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}

#[test]
fn a_limit_holds_for_all_connections_together_and_for_both_ways() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let endpoint = bench.server.endpoint().to_owned();
    let both = format!("endpoint = \"{endpoint}\"\ncredentials-file = \"HERE/credentials\"\n");
    bench.configure(&format!("{both}limit-upload = \"1MB\"\nlimit-download = \"1MB\"\n"));
    // 2 MB that cannot be compressed.
    let begin = std::time::Instant::now();
    bench.expect(0, &["backup", "source"]);
    let up = begin.elapsed().as_secs_f64();
    let begin = std::time::Instant::now();
    bench.expect(0, &["restore", "latest", "--to", "back"]);
    let down = begin.elapsed().as_secs_f64();
    assert!((2.0..8.0).contains(&up) && (2.0..8.0).contains(&down), "{up} s up, {down} s down");
}

#[test]
fn what_is_set_up_wrong_is_said_with_the_next_step_and_without_a_secret() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.credentials(KEY_ID, "canary-wrong-secret");
    let commands: [(i32, &[&str]); 5] = [
        (1, &["snapshots"]),
        (1, &["backup", "source"]),
        (1, &["-v", "check"]),
        (1, &["--json", "snapshots"]),
        (3, &["doctor"]),
    ];
    for (code, arguments) in commands {
        let said = bench.expect(code, arguments);
        assert!(said.contains("does not accept the access key"), "{arguments:?}: {said}");
        assert!(said.contains("check the credentials"), "{arguments:?}: {said}");
    }
    bench.credentials(KEY_ID, SECRET);
    std::fs::write(bench.path("credentials"), "canary-of-something-else\n").unwrap();
    let said = bench.expect(2, &["snapshots"]);
    assert!(said.contains("is no credentials file: line 1 is not NAME=VALUE"), "{said}");
    bench.credentials(KEY_ID, SECRET);
    std::fs::rename(bench.server.object(""), bench.server.object("../elsewhere")).unwrap();
    let said = bench.expect(1, &["snapshots"]);
    assert!(said.contains("there is no such bucket") && said.contains("make the bucket"), "{said}");
    let nobody = "endpoint = \"http://127.0.0.1:1\"\ncredentials-file = \"HERE/credentials\"\n";
    bench.configure(nobody);
    let said = bench.expect(1, &["backup", "source"]);
    assert!(said.contains("the server does not answer") && said.contains("check the network"), "{said}");
    let said = bench.expect(2, &["--repo", "s3://key:canary-secret@backups/x", "snapshots"]);
    assert!(said.contains("has a password in it"), "{said}");
}

/// What `bk doctor --json` says of the repository.
fn examined(bench: &Bench, code: i32) -> serde_json::Value {
    let told = bench.expect(code, &["--json", "doctor"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let groups = told["groups"].as_array().unwrap();
    groups.iter().find(|group| group["kind"] == "repository").unwrap().clone()
}

#[test]
fn the_doctor_tries_out_a_bucket_and_leaves_nothing_there() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let before = bench.server.keys();
    bench.server.take_counts();
    let said = bench.expect(0, &["doctor", "--repo", "far"]);
    let counts = bench.server.take_counts();
    for told in [
        "ok store: an object was written, read back, listed, looked at and deleted",
        "ok clock: that of the store is ",
        "ok answers: a request takes ",
        "ok repository: s3://backups/host1 opens",
    ] {
        assert!(said.contains(told), "`{told}` is not in {said}");
    }
    assert!(!said.contains("speed:") && !said.contains("durab"), "{said}");
    // One of the two is the question for older versions.
    for (kind, times) in [("PUT tmp", 1), ("GET tmp", 2), ("LIST tmp", 1), ("HEAD tmp", 6), ("DELETE tmp", 1)] {
        assert_eq!(counts.get(kind), Some(&times), "{kind}: {counts:?}");
    }
    let said = bench.expect(0, &["doctor", "--speed"]);
    assert!(said.contains("ok speed: takes ") && said.contains("/s, gives "), "{said}");
    let store = examined(&bench, 0)["store"].clone();
    for step in ["write", "read", "list", "size", "delete", "gone"] {
        assert_eq!(store[step], "ok", "{store}");
    }
    assert!(store["clock_ahead_seconds"].as_f64().unwrap().abs() < 10.0, "{store}");
    assert!(store["left"].is_null() && store["makes_durable"] == true, "{store}");
    // Whatever opens the repository plays no part in this.
    std::fs::write(bench.path("key"), "no key").unwrap();
    let said = bench.expect(3, &["doctor"]);
    assert!(said.contains("looked at and deleted") && said.contains("PROBLEM key: "), "{said}");
    assert_eq!(bench.server.keys(), before);
}

#[test]
fn a_key_that_may_not_delete_is_well_for_backups_and_the_doctor_says_what_it_is_not_well_for() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let before = bench.server.keys();
    bench.server.plan([Rule::always("DELETE", Trouble::answer(403, "AccessDenied"))]);
    let said = bench.expect(0, &["doctor", "--speed"]);
    for told in [
        "ok store: an object was written, read back, listed and looked at",
        "note store: deleting is refused: backups and restores work, `bk prune` does not, from this machine; tmp/",
        "note speed: not measured: 8 MiB would stay there",
    ] {
        assert!(said.contains(told), "`{told}` is not in {said}");
    }
    let left: Vec<_> = bench.server.keys().difference(&before).cloned().collect();
    let [left] = left.as_slice() else { panic!("one small object stays: {left:?}") };
    assert!(said.contains(left.strip_prefix("host1/").unwrap()), "{left}: {said}");
    let store = examined(&bench, 0)["store"].clone();
    assert_eq!((&store["delete"], &store["gone"]), (&"refused".into(), &serde_json::Value::Null));
    assert!(store["left"].as_str().unwrap().starts_with("tmp/"), "{store}");
    // It is in nobody's way.
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["restore", "source", "--to", "restored"]);
    bench.server.refuse_no_more();
    bench.expect(0, &["check", "--read-data"]);
    bench.expect(0, &["prune"]);
}

#[test]
fn what_a_bucket_refuses_is_a_problem_with_its_name_and_the_next_step() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let before = bench.server.keys();
    let cases = [
        ("PUT tmp", "write", "writing"),
        ("GET tmp", "read", "reading back"),
        ("LIST tmp", "list", "listing"),
        ("HEAD tmp", "size", "asking for a length"),
    ];
    for (what, step, words) in cases {
        bench.server.plan([Rule::always(what, Trouble::answer(403, "AccessDenied"))]);
        let said = bench.expect(3, &["doctor"]);
        assert!(said.contains(&format!("PROBLEM store: {words} does not work: cannot ")), "{what}: {said}");
        assert!(
            said.contains("these credentials do not allow it") && said.contains("give the key the right"),
            "{said}"
        );
        let store = examined(&bench, 3)["store"].clone();
        assert_eq!(store[step], "failed", "{what}: {store}");
        assert_eq!(store["read"].is_null(), step == "write", "{what}: {store}");
        bench.server.refuse_no_more();
        assert_eq!(bench.server.keys(), before, "{what}");
    }
}

#[test]
fn no_program_that_is_started_is_told_the_secret() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let script = "tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' ' ' < /proc/$$/environ";
    bench.expect(0, &["backup", "--name", "seen", "--command", "--", "sh", "-c", script]);
    let seen = bench.expect(0, &["dump", "latest", "seen"]);
    assert!(seen.contains("--name seen"), "{seen}");
}

#[test]
fn a_server_that_stumbles_costs_time_and_nothing_else() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    let busy = Refusal { status: 503, code: "SlowDown", method: "PUT" };
    let broken = Refusal { status: 500, code: "InternalError", method: "GET" };
    bench.server.refuse([busy, broken, Refusal { method: "HEAD", ..broken }, busy]);
    bench.expect(0, &["backup", "source"]);
    assert_eq!(bench.server.refusals_left(), 0);
    bench.expect(0, &["check", "--read-data"]);
}

#[test]
fn what_is_remembered_here_may_be_lost_or_damaged_and_a_check_does_not_look_at_it() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "source"]);
    let cache = bench.path("data/cache");
    let remembered = || {
        let (mut all, mut folders) = (Vec::new(), vec![cache.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { all.push(path) }
            }
        }
        all
    };
    bench.server.take_counts();
    bench.expect(0, &["ls", "latest"]);
    bench.server.take_counts();
    bench.expect(0, &["ls", "latest"]);
    let counts = bench.server.take_counts();
    let fetched: Vec<_> = counts.keys().filter(|kind| kind.starts_with("GET") && !kind.contains("keys")).collect();
    assert!(fetched.is_empty(), "{counts:?}");
    assert!(remembered().iter().any(|path| path.parent().unwrap().ends_with("packs")), "trees are kept");
    let all = bench.expect(0, &["ls", "latest"]);
    for path in remembered() {
        let mut bytes = std::fs::read(&path).unwrap();
        for byte in &mut bytes {
            *byte ^= 0x55;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(bench.expect(0, &["ls", "latest"]), all);
    bench.expect(0, &["backup", "source"]);
    std::fs::remove_dir_all(&cache).unwrap();
    assert_eq!(bench.expect(0, &["ls", "latest~1"]), all);
    bench.expect(0, &["backup", "source"]);
    // Damage there is found although everything here is whole.
    let index = std::fs::read_dir(bench.server.object("host1/index")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&index, bytes).unwrap();
    bench.expect(0, &["ls", "latest"]);
    let said = bench.expect(5, &["check"]);
    assert!(said.contains("index/"), "{said}");
    let said = bench.expect(5, &["check", "--read-data"]);
    assert!(said.contains("will be fetched from far, in"), "{said}");
}

#[test]
fn a_damaged_pack_of_a_bucket_goes_to_quarantine_and_the_next_backup_stores_anew_what_it_held() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "source"]);
    let all: Vec<String> = bench.server.keys().into_iter().filter(|key| key.contains("/packs/")).collect();
    let length = |key: &String| std::fs::metadata(bench.server.object(key)).unwrap().len();
    let pack = all.iter().max_by_key(|key| length(key)).unwrap();
    let path = bench.server.object(pack);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let said = bench.expect(6, &["verify", "source", "--files", "all"]);
    assert!(said.contains("NOT RESTORE") && said.contains("source/"), "{said}");
    let said = bench.expect(5, &["repair", "packs", "--yes"]);
    assert!(said.contains("in quarantine") && said.contains("bk backup"), "{said}");
    assert!(!path.exists());
    let held: Vec<String> = bench.server.keys().into_iter().filter(|key| key.contains("/quarantine/")).collect();
    assert_eq!(held.len(), 2, "the pack and a note: {held:?}");
    assert!(held.iter().any(|key| std::fs::read(bench.server.object(key)).unwrap() == bytes));
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["check", "--read-data"]);
    bench.expect(0, &["verify", "source", "--files", "all"]);
    // Taken out is not thrown away.
    let name = pack.rsplit('/').next().unwrap();
    bench.expect(0, &["repair", "quarantine", "--put-back", name, "--yes"]);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(!bench.server.keys().iter().any(|key| key.contains("/quarantine/")));
}

#[test]
fn when_the_nearest_repository_is_gone_the_next_one_is_read() {
    let bench = Bench::new();
    let endpoint = bench.server.endpoint().to_owned();
    let near = "[repository.near]\nlocation = \"HERE/near\"\n";
    bench.configure(&format!("endpoint = \"{endpoint}\"\ncredentials-file = \"HERE/credentials\"\n{near}"));
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "source"]);
    assert!(bench.expect(0, &["snapshots"]).contains("reading from near"));
    std::fs::rename(bench.path("near"), bench.path("lost")).unwrap();
    let said = bench.expect(0, &["restore", "source", "--to", "restored"]);
    assert!(said.contains("near cannot be read: there is no repository at"), "{said}");
    assert!(said.contains("reading from far (s3://backups/host1)"), "{said}");
}

#[test]
fn a_restore_fetches_each_pack_in_few_requests_and_says_how_much_before() {
    let bench = Bench::new();
    bench.expect(0, &["init"]);
    for number in 0..60_u64 {
        let mut bytes = vec![0; 1_000_000];
        blake3::Hasher::new().update(&(number + 7000).to_be_bytes()).finalize_xof().fill(&mut bytes);
        std::fs::write(bench.path(&format!("source/large{number}")), bytes).unwrap();
    }
    bench.expect(0, &["backup", "source"]);
    bench.expect(0, &["ls", "latest"]);
    bench.server.take_counts();
    let said = bench.expect(0, &["restore", "source", "--to", "whole"]);
    let counts = bench.server.take_counts();
    assert!(said.contains("will be fetched from far, out of"), "{said}");
    // 62 MB in stretches of at most 16 MiB, and nothing twice.
    assert!(counts["GET packs"] <= 8, "{counts:?}");
    let restored = bench.path("whole/source").join(bench.path("source").strip_prefix("/").unwrap());
    for name in ["large0", "large59", "sub/3", "file"] {
        assert!(std::fs::read(restored.join(name)).unwrap() == std::fs::read(bench.path("source").join(name)).unwrap());
    }
    // One file costs what it is, and what is there already is not fetched again.
    let path = bench.path("source/large30");
    bench.expect(0, &["restore", "source", path.to_str().unwrap(), "--to", "one"]);
    let counts = bench.server.take_counts();
    assert!(counts["GET packs"] <= 3, "{counts:?}");
    bench.expect(0, &["restore", "source", "--to", "whole"]);
    let counts = bench.server.take_counts();
    assert_eq!(counts.get("GET packs"), None, "{counts:?}");
}
