//! Which snapshot a restore takes, and that it puts things back where they were.

use super::Bench;

/// Two snapshots of one folder: `file` holds "one", then "two".
fn two_snapshots() -> (Bench, String) {
    let bench = Bench::new();
    std::fs::write(bench.path("source/file"), "one").unwrap();
    let (out, _) = bench.expect(0, &["--json", "backup", "./source"]);
    let summary: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    std::fs::write(bench.path("source/file"), "two").unwrap();
    bench.expect(0, &["backup", "./source"]);
    (bench, summary["snapshot_id"].as_str().unwrap().to_owned())
}

fn restored(bench: &Bench, to: &str) -> String {
    let place = bench.path(to).join("source").join(bench.path("source/file").strip_prefix("/").unwrap());
    std::fs::read_to_string(place).unwrap()
}

#[test]
fn a_time_means_the_newest_snapshot_that_had_begun_by_then() {
    let (bench, first) = two_snapshots();
    let (out, _) = bench.expect(0, &["--json", "snapshots"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let found = list.as_array().unwrap().iter().find(|one| one["id"] == first.as_str()).unwrap();
    let time = found["time"].as_str().unwrap();
    // Up to the second after it began, and before the next.
    let second = format!("{}.999999999{}", &time[..19], time.trim_start_matches(|c: char| c != 'Z' && c != '+'));
    bench.expect(0, &["restore", "latest", "--at", &second, "--to", "then"]);
    assert_eq!(restored(&bench, "then"), "one");
    bench.expect(0, &["restore", "latest", "--to", "now"]);
    assert_eq!(restored(&bench, "now"), "two");
    let (_, err) = bench.expect(1, &["restore", "latest", "--at", "2001-01-01", "--to", "never"]);
    assert!(err.contains("no snapshot") && !bench.path("never").exists(), "{err}");
}

#[test]
fn another_host_has_no_snapshots_here() {
    let (bench, _) = two_snapshots();
    let (_, err) = bench.expect(1, &["restore", "latest", "--host", "elsewhere", "--to", "copy"]);
    assert!(err.contains("no snapshot"), "{err}");
    let (out, _) = bench.expect(0, &["--json", "snapshots"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let host = list[0]["host"].as_str().unwrap().to_owned();
    bench.expect(0, &["restore", "latest", "--host", &host, "--to", "copy"]);
    assert_eq!(restored(&bench, "copy"), "two");
}

#[test]
fn files_are_put_back_where_they_were_and_nothing_else_is_touched() {
    let (bench, first) = two_snapshots();
    std::fs::write(bench.path("source/later"), "stays").unwrap();
    std::fs::remove_file(bench.path("source/sub/other")).unwrap();
    bench.expect(0, &["restore", &first, "--in-place", "--files-only"]);
    assert_eq!(std::fs::read_to_string(bench.path("source/file")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(bench.path("source/sub/other")).unwrap(), "other\n");
    assert_eq!(std::fs::read_to_string(bench.path("source/later")).unwrap(), "stays");
    bench.expect(0, &["restore", &first, "--in-place", "--files-only", "--delete"]);
    assert!(!bench.path("source/later").exists());
}
