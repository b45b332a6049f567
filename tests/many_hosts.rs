//! Many machines at once on one repository, while another one forgets and prunes: every backup is complete, everything
//! can be read, and nobody lets go of what is not theirs.
//!
//! Each machine is a UTS namespace, which has a host name of its own and needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/s3_server.rs"]
mod s3_server;
#[path = "support/trees.rs"]
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use s3_server::{KEY_ID, S3Server, SECRET};
use serde_json::Value;
use trees::{Said, meanwhile, noise, skipped};

const HOSTS: [&str; 4] = ["attic", "cellar", "kitchen", "shed"];
/// The one that forgets and prunes all the while has backups too.
const KEEPER: &str = "attic";
const ROUNDS: u64 = 6;

/// Four machines and a repository.
struct Park {
    folder: tempfile::TempDir,
    /// Where the objects lie.
    repository: PathBuf,
}

impl Park {
    /// What the section says of the repository, whose objects lie in a folder; `HERE` is that of the park.
    fn new(section: &str, repository: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let repository = repository.unwrap_or_else(|| folder.path().join("repository"));
        let park = Self { folder, repository };
        let here = park.folder.path().to_str().unwrap().to_owned();
        let credentials = format!("AWS_ACCESS_KEY_ID={KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET}\n");
        std::fs::write(park.path("credentials"), credentials).unwrap();
        for host in HOSTS {
            std::fs::create_dir_all(park.source(host).join("shared")).unwrap();
            let text = format!(
                "[family]\nkey-file = \"HERE/key\"\n[repository.all]\n{section}\n\
                 [profile.work]\nroot = \"HERE/{host}/work\"\n"
            );
            std::fs::write(park.path(&format!("{host}.toml")), text.replace("HERE", &here)).unwrap();
        }
        park.expect(0, KEEPER, &["init"]);
        park
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self, host: &str) -> PathBuf {
        self.path(host).join("work")
    }

    /// Something that is this host's alone, something that all have, something that goes; in a second series it comes
    /// again.
    fn change(&self, host: &str, round: u64) {
        let source = self.source(host);
        let seed = 100 * (1 + HOSTS.iter().position(|name| *name == host).unwrap() as u64);
        std::fs::write(source.join("changing"), noise(seed + round, 40_000)).unwrap();
        std::fs::write(source.join(format!("own-{round}")), noise(10_000 + seed + round, 20_000)).unwrap();
        std::fs::write(source.join(format!("shared/{round}")), noise(20_000 + round, 60_000)).unwrap();
        let _ = std::fs::remove_file(source.join(format!("own-{}", (round + ROUNDS - 2) % ROUNDS)));
    }

    /// The program on that machine.
    fn bk(&self, host: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new("unshare");
        command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host, env!("CARGO_BIN_EXE_bk")]);
        command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.path(host));
        command.env("BK_CONFIG", self.path(&format!("{host}.toml"))).env("BK_DATA_DIR", self.path(host).join("data"));
        Said::by(command.stdin(Stdio::null()).current_dir(self.folder.path()))
    }

    #[track_caller]
    fn expect(&self, code: i32, host: &str, arguments: &[&str]) -> Said {
        let said = self.bk(host, arguments);
        assert_eq!(said.status.code(), Some(code), "{host}: bk {arguments:?}: {}", said.text());
        said
    }

    /// The snapshots of each host, oldest first.
    fn snapshots(&self) -> BTreeMap<String, Vec<String>> {
        let said = self.expect(0, KEEPER, &["--json", "snapshots"]);
        let mut all = BTreeMap::<String, Vec<String>>::new();
        for snapshot in said.json().as_array().unwrap() {
            let [host, id] = ["host", "id"].map(|key| snapshot[key].as_str().unwrap().to_owned());
            all.entry(host).or_default().push(id);
        }
        all
    }

    /// Backs up so often; gives the ids.
    fn backs_up_often(&self, host: &str) -> Vec<String> {
        let rounds = (0..ROUNDS).map(|round| {
            self.change(host, round);
            self.backs_up(host)["snapshot_id"].as_str().unwrap().to_owned()
        });
        rounds.collect()
    }

    /// Backs up; gives the summary.
    fn backs_up(&self, host: &str) -> Value {
        let said = self.expect(0, host, &["--json", "backup", "work"]);
        let mut lines = said.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let summary = lines.find(|line| line["message_type"] == "summary").unwrap();
        assert_eq!(summary["outcome"], "complete", "{summary}");
        summary
    }

    fn restores(&self, host: &str, id: &str) {
        let to = self.path(&format!("restored-{host}-{id}"));
        self.expect(0, host, &["restore", id, "--to", to.to_str().unwrap()]);
        let copy = to.join("work").join(self.source(host).strip_prefix("/").unwrap());
        let differs = trees::difference(&trees::look(&self.source(host)), &trees::look(&copy));
        assert_eq!(differs, None, "{host}");
    }

    fn holds_together(&self) {
        let mut early: BTreeMap<_, _> = HOSTS.map(|host| (host.to_owned(), self.backs_up_often(host))).into();
        // Only what is old enough is marked by a prune.
        grow_old(&self.repository.join("packs"));
        let made = Mutex::new(BTreeMap::new());
        let mut kept = 0;
        meanwhile(
            || {
                self.expect(0, KEEPER, &["forget", "--keep-last", "1"]);
                self.expect(0, KEEPER, &["prune", "--max-unused", "0%"]);
                self.expect(0, KEEPER, &["check"]);
                kept += 1;
            },
            || {
                std::thread::scope(|scope| {
                    for host in HOSTS {
                        let made = &made;
                        scope.spawn(move || {
                            let ids = self.backs_up_often(host);
                            made.lock().unwrap().insert(host.to_owned(), ids);
                        });
                    }
                });
            },
        );
        assert!(kept >= 2, "forgot and pruned {kept} times");
        assert!(trees::look(&self.repository.join("marks")).len() > 1);
        let mut made = made.into_inner().unwrap();
        for (host, ids) in &mut made {
            ids.splice(0..0, early.remove(host).unwrap());
        }
        self.expect(0, KEEPER, &["check", "--read-data"]);
        self.expect(0, KEEPER, &["forget", "--keep-last", "1"]);
        let left = self.snapshots();
        for host in HOSTS {
            // Never fewer than three.
            let first = if host == KEEPER { 2 * ROUNDS as usize - 3 } else { 0 };
            assert_eq!(left[host], made[host][first..], "{host}");
            self.restores(host, left[host].last().unwrap());
        }
        let all: BTreeSet<_> = made.values().flatten().collect();
        assert_eq!(all.len(), HOSTS.len() * 2 * ROUNDS as usize);
        // What one machine has stored no other stores again.
        std::fs::copy(self.source(KEEPER).join("changing"), self.source("shed").join("theirs")).unwrap();
        let added = self.backs_up("shed")["data_added_packed"].as_u64().unwrap();
        assert!(added < 20_000, "{added} bytes of 40,000 that another has");
        let made = self.snapshots();
        // Only who says so lets go of what others have made.
        self.expect(0, "shed", &["forget", "--keep-last", "1", "--all-hosts"]);
        let left = self.snapshots();
        for host in HOSTS {
            assert_eq!(left[host], made[host][made[host].len() - 3..], "{host}");
        }
        self.expect(0, "shed", &["prune", "--instant-delete", "--no-other-writer"]);
        self.expect(0, "shed", &["check", "--read-data"]);
        for host in HOSTS {
            self.restores(host, left[host].last().unwrap());
        }
    }
}

/// The packs there were stored three days ago.
fn grow_old(folder: &Path) {
    let three_days = Duration::from_secs(3 * 24 * 3600);
    for (path, seen) in trees::look(folder).iter().filter(|(_, seen)| seen.kind == "file") {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seen.mtime.0.cast_unsigned()) - three_days;
        let file = std::fs::File::open(folder.join(OsStr::from_bytes(path))).unwrap();
        file.set_modified(then).unwrap();
    }
}

/// Whether a machine can be made, or the test says that it was not tried.
fn can_be_another_host() -> bool {
    let said = Said::by(Command::new("unshare").args(["--uts", "hostname", "attic"]));
    if !said.status.success() {
        skipped("many machines at once", said.text().trim());
    }
    said.status.success()
}

#[test]
fn four_machines_and_a_pruning_one_share_a_folder() {
    if can_be_another_host() {
        Park::new("location = \"HERE/repository\"", None).holds_together();
    }
}

#[test]
fn four_machines_and_a_pruning_one_share_a_bucket() {
    if can_be_another_host() {
        let server = S3Server::start();
        let section = format!(
            "location = \"s3://backups/all\"\nendpoint = \"{}\"\ncredentials-file = \"HERE/credentials\"",
            server.endpoint()
        );
        Park::new(&section, Some(server.object("all"))).holds_together();
    }
}
