//! Nextcloud, Gitea and InfluxDB, with stand-ins for their programs.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::quiesce::{DUMPED, finished};
use super::servers::done;
use super::trees::{NOBODY, is_root, noise};
use super::{MARK, Machine, processes, signal, unseen};

/// Whoever owns what the program needs: a user without power when root runs the tests.
fn user() -> String {
    let id = if is_root() { NOBODY.to_string() } else { rustix::process::geteuid().as_raw().to_string() };
    done(Command::new("id").args(["--user", "--name", "--", &id])).trim().to_owned()
}

fn hand_over(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(std::fs::metadata(path).unwrap().gid())).unwrap();
    }
}

const MAINTENANCE: &str = "[profile.shop.quiesce]\nhow = \"maintenance\"\n";

/// A Nextcloud with SQLite.
fn nextcloud() -> (Machine, PathBuf) {
    let mut machine = Machine::new("");
    let state = machine.stand_in(&["php"], include_str!("programs/php"));
    machine.bench.file("files/occ", "#!/usr/bin/env php\n");
    let config = "<?php\n$CONFIG = array (\n  'instanceid' => 'oc1',\n  'passwordsalt' => 'salt',\n  'secret' => 'word',\n  \
        'dbtype' => 'sqlite3',\n  'maintenance' => false,\n);\n";
    let config = machine.bench.file("files/config/config.php", config);
    hand_over(&config);
    hand_over(config.parent().unwrap());
    machine.bench.folder("files/data");
    let database = rusqlite::Connection::open(machine.bench.path("files/data/owncloud.db")).unwrap();
    database.execute_batch("CREATE TABLE oc_users (uid TEXT); INSERT INTO oc_users VALUES ('me');").unwrap();
    nextcloud_with(&machine, MAINTENANCE);
    (machine, state)
}

fn nextcloud_with(machine: &Machine, more: &str) {
    let files = machine.bench.path("files");
    machine
        .bench
        .file("bk.toml", format!("[profile.shop]\nuse = \"nextcloud\"\nroot = \"{}\"\n{more}", files.display()));
}

fn mode(config: &str) -> bool {
    config.contains("'maintenance' => true")
}

fn live_mode(machine: &Machine) -> bool {
    mode(&std::fs::read_to_string(machine.bench.path("files/config/config.php")).unwrap())
}

fn switched(machine: &Machine) -> Vec<String> {
    let calls = machine.called("maintenance:mode --o");
    calls.iter().map(|call| call.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn nextcloud_is_in_maintenance_mode_while_it_is_read() {
    let (machine, _state) = nextcloud();
    machine.backs_up();
    let config = machine.bench.path("files/config/config.php");
    assert!(mode(&machine.run(&["dump", "shop", config.to_str().unwrap()]).exits(0).stdout));
    assert_eq!((live_mode(&machine), switched(&machine)), (false, vec!["--on".into(), "--off".into()]));
    // It is left as it was.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("false", "true")).unwrap();
    machine.backs_up();
    assert_eq!((live_mode(&machine), switched(&machine)), (true, vec![]));
}

#[test]
fn nextcloud_is_not_left_in_maintenance_mode() {
    let (machine, state) = nextcloud();
    machine.backs_up();
    machine.dumper("exit 9");
    nextcloud_with(&machine, &format!("{MAINTENANCE}{DUMPED}"));
    machine.called("");
    machine.fails("exit code 9");
    assert_eq!((live_mode(&machine), switched(&machine)), (false, vec!["--on".into(), "--off".into()]));
    // What cannot be switched on is not called complete.
    let fails = state.join("fails");
    machine.dumper("");
    std::fs::write(&fails, "--on").unwrap();
    machine.fails("cannot switch the maintenance mode on");
    assert_eq!((live_mode(&machine), machine.journal()), (false, 0));
    // What cannot be told from its answer, too.
    std::fs::write(&fails, "maintenance:mode").unwrap();
    machine.fails("Failed to connect to the database");
    // What cannot be switched off is told, and switched off by the next run.
    std::fs::write(&fails, "--off").unwrap();
    machine.run(&["backup", "shop"]).exits(4).says("the maintenance mode is still on");
    assert_eq!((live_mode(&machine), machine.journal()), (true, 1));
    std::fs::remove_file(&fails).unwrap();
    let other = machine.bench.folder("other");
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    assert_eq!((live_mode(&machine), machine.journal()), (false, 0));
    // So is one that a run that was killed has left.
    machine.dumper("sleep 300");
    machine.logged();
    let mark = format!("nextcloud-{}", std::process::id());
    let child = machine.start_until("dump", &mark);
    signal(child.id() as i32, Signal::KILL);
    for (id, _) in processes(&format!("{MARK}={mark}")) {
        signal(id, Signal::KILL);
    }
    assert!(!finished(child).status.success() && live_mode(&machine));
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    assert_eq!((live_mode(&machine), machine.journal()), (false, 0));
}

fn gitea(name: &str) -> (Machine, PathBuf) {
    let mut machine = Machine::new("");
    let state = machine.stand_in(&[name], include_str!("programs/gitea"));
    machine.bench.file("state/app.ini", "[database]\nDB_TYPE = sqlite3\n");
    machine.bench.file("state/data/gitea-db.sql", "CREATE TABLE user (id INTEGER);\n".repeat(1000));
    machine.bench.file("state/data/repos/me/shop.git/HEAD", "ref: refs/heads/main\n");
    machine.bench.file("state/data/repos/me/shop.git/objects/pack/pack-1.pack", noise(3, 200_000));
    machine.configure(&format!(
        "[[profile.shop.database]]\nengine = \"gitea\"\nsystem-user = \"{}\"\nsettings = {{ config = \"{}\" }}\n",
        user(),
        state.join("app.ini").display()
    ));
    (machine, state)
}

/// Unpacks a tar into a new folder.
fn unpacked(machine: &Machine, tar: &Path) -> PathBuf {
    let to = machine.bench.folder("unpacked");
    done(Command::new("tar").arg("-C").arg(&to).arg("-xf").arg(tar));
    to
}

#[test]
fn a_dump_of_gitea_is_whole_or_not_kept() {
    for name in ["gitea", "forgejo"] {
        let (machine, state) = gitea(name);
        machine.backs_up();
        let tar = machine.restored("shop").join(".bk/dumps/gitea/gitea-dump.tar");
        done(Command::new("diff").arg("--recursive").arg(state.join("data")).arg(unpacked(&machine, &tar)));
        let how = state.join("how");
        for (text, words) in [
            ("exit:1", format!("{name} dump failed")),
            // Without its end, and cut in the middle of a file.
            ("cut:1024", "has no end".into()),
            ("cut:100000", "is not a whole tar".into()),
            ("cut:10000000", "gitea-dump.tar".into()),
        ] {
            std::fs::write(&how, text).unwrap();
            machine.fails(&words);
        }
        std::fs::remove_file(how).unwrap();
        machine.backs_up();
    }
}

const TOKEN: &str = "t0ken of the operator==";

#[test]
fn a_backup_of_influxdb_is_whole_or_not_kept_and_its_token_is_shown_to_nobody() {
    let mut machine = Machine::new("");
    let state = machine.stand_in(&["influx"], include_str!("programs/influx"));
    for (name, text) in
        [("token", TOKEN.as_bytes().to_vec()), ("data/shard", noise(4, 300_000)), ("data/bolt", noise(5, 70_000))]
    {
        machine.bench.file(&format!("state/{name}"), text);
    }
    let file = machine.password(TOKEN);
    let with = |more: &str| {
        machine.configure(&format!(
            "[[profile.shop.database]]\nengine = \"influxdb\"\npassword-file = \"{file}\"\n{more}"
        ));
    };
    with("");
    let temporary = || {
        std::fs::read_dir(machine.bench.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    let before = temporary();
    let said = unseen(TOKEN, || machine.backs_up());
    assert!(!said.text().contains(TOKEN));
    let new: Vec<_> =
        temporary().into_iter().filter(|name| name != "data" && name != "home" && !before.contains(name)).collect();
    assert_eq!(new, Vec::<std::ffi::OsString>::new(), "nothing of the database is left on the disk");
    let tar = machine.restored("shop").join(".bk/dumps/influxdb/influxdb.tar");
    let folder = unpacked(&machine, &tar).join("influxdb");
    for (name, original) in [("20240101T000000Z.1.tar.gz", "shard"), ("20240101T000000Z.bolt.gz", "bolt")] {
        assert!(
            std::fs::read(folder.join(name)).unwrap() == std::fs::read(state.join("data").join(original)).unwrap(),
            "{name}"
        );
    }
    assert!(folder.join("20240101T000000Z.manifest").exists());
    let calls = machine.called("influx backup");
    assert!(calls.len() == 1 && !calls[0].contains("--bucket"), "{calls:?}");
    with("name = \"shop\"\n");
    machine.backs_up();
    assert!(machine.called("influx backup")[0].ends_with("--bucket shop"));
    let how = state.join("how");
    for (text, words) in [("exit:1", "influx backup failed"), ("bare", "holds no manifest")] {
        std::fs::write(&how, text).unwrap();
        machine.fails(words);
    }
    std::fs::remove_file(how).unwrap();
    std::fs::write(state.join("token"), "another").unwrap();
    machine.fails("cannot log in to InfluxDB");
}
