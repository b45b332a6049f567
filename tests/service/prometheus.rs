//! Prometheus.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::quiesce::DUMPED;
use super::servers::{Prometheus, done};
use super::{Machine, wait_for};

/// A profile of its data folder, with the server that runs here.
fn configure(machine: &Machine, data: &Path, url: &str, more: &str) {
    machine.bench.file(
        "bk.toml",
        format!(
            "[profile.shop]\nroot = \"{}\"\n[[profile.shop.hook]]\nrun = \"prometheus\"\n\
             settings = {{ url = \"{url}\" }}\n{more}",
            data.display()
        ),
    );
}

/// The snapshots in its data folder.
fn snapshots(data: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(data.join("snapshots")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// All samples of the last hour before `moment`, of every series.
fn samples(server: &Prometheus, moment: f64) -> Value {
    let query = format!("query?time={moment}&query=%7B__name__%3D~%22.%2B%22%7D%5B1h%5D");
    let mut answer: Value = serde_json::from_str(&server.ask(&query)).unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    let mut series = answer["data"]["result"].take();
    series.as_array_mut().unwrap().sort_by_key(|one| one["metric"].to_string());
    series
}

#[test]
fn a_snapshot_of_what_is_only_in_memory_is_read_by_another_server_with_the_same_samples() {
    let server = Prometheus::start(None, true);
    let machine = Machine::new("");
    configure(&machine, &server.data(), &server.url(), "");
    // So many scrapes of itself.
    let scraped = || {
        let answer: Value = serde_json::from_str(&server.ask("query?query=count_over_time(up%5B1h%5D)")).unwrap();
        let count = answer["data"]["result"][0]["value"][1].as_str()?.parse::<u64>().ok()?;
        (count >= 10).then_some(answer["data"]["result"][0]["value"][0].as_f64().unwrap())
    };
    let moment = wait_for("a scrape", scraped);
    let expected = samples(&server, moment);
    assert!(expected.as_array().unwrap().len() > 100, "{expected}");
    machine.backs_up();
    assert_eq!((snapshots(&server.data()), machine.journal()), (vec![], 0));
    let copy = machine.restored("shop").join(server.data().strip_prefix("/").unwrap());
    assert!(!copy.join("wal").exists() && !copy.join("snapshots").exists());
    let list = done(Command::new("promtool").args(["tsdb", "list"]).arg(&copy));
    assert!(list.lines().count() >= 2, "a head and at least one block: {list}");
    let again = Prometheus::start(Some(&copy), true);
    assert!(samples(&again, moment) == expected, "a sample differs");
}

#[test]
fn without_its_snapshot_the_backup_is_incomplete_and_none_is_left() {
    let machine = Machine::new("");
    let server = Prometheus::start(None, true);
    configure(&machine, &server.data(), &server.url(), "");
    machine.backs_up();
    // A dump that fails while the snapshot is there.
    machine.dumper(&format!("ls {}/snapshots >&2; exit 9", server.data().display()));
    configure(&machine, &server.data(), &server.url(), DUMPED);
    machine.run(&["backup", "shop"]).exits(4).says("own: 20").says("INCOMPLETE");
    assert_eq!((snapshots(&server.data()), machine.journal()), (vec![], 0));
    // The data folder of another server: its snapshot is none of this one.
    let files = machine.bench.folder("files/wal");
    configure(&machine, files.parent().unwrap(), &server.url(), "");
    machine.run(&["backup", "shop"]).exits(4).says("path is not its data folder").says("INCOMPLETE");
    // One that does not let snapshots be made, and one that is not there.
    let shut = Prometheus::start(None, false);
    configure(&machine, &shut.data(), &shut.url(), "");
    machine.run(&["backup", "shop"]).exits(4).says("the admin API of Prometheus is off").says("INCOMPLETE");
    let (data, url) = (machine.bench.folder("files"), shut.url());
    drop(shut);
    configure(&machine, &data, &url, "");
    machine.run(&["backup", "shop"]).exits(4).says("Prometheus does not answer").says("INCOMPLETE");
    assert_eq!(machine.journal(), 0);
}
