//! `bk import` from a repository of bk that has other keys.

use serde_json::Value;

use super::{Bench, text};

/// The repository of the bench, and an empty one with keys of its own.
const CONFIG: &str = r#"
[family]
key-file = "HERE/key"
[repository.new]
location = "HERE/new"
keep = { last = 2 }
[profile.wiki]
paths = ["HERE/source"]
"#;

/// Two snapshots in the repository that needs no configuration, and another one that is empty.
fn two_families() -> Bench {
    let bench = Bench::configured(CONFIG);
    bench.expect(0, &["backup", "./source", "--tag", "old"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    std::fs::write(bench.path("source/file"), "changed").unwrap();
    bench.expect(0, &["backup", "./source"]);
    bench
}

const OLD: [&str; 4] = ["import", "./data/repository", "--from-key-file", "data/key"];

fn import(bench: &Bench, code: i32, more: &[&str]) -> (String, String) {
    bench.with(code, &[&OLD[..], more].concat())
}

fn json(bench: &Bench, more: &[&str]) -> Vec<Value> {
    bench.lines(0, &[&OLD[..], more].concat()).into_iter().filter(|line| line["message_type"] != "status").collect()
}

#[test]
fn snapshots_come_once_under_the_profile_whose_paths_they_have_and_restore_as_they_were() {
    let bench = two_families();
    let (out, _) = import(&bench, 0, &["--dry-run"]);
    assert_eq!(out.matches("import").count(), 2, "{out}");
    assert!(out.contains("wiki"), "{out}");
    assert_eq!(bench.lines(0, &["snapshots"])[0], Value::Array(Vec::new()));
    let (out, _) = import(&bench, 0, &[]);
    assert!(out.contains("new got 2 snapshots from"), "{out}");
    let listed = bench.lines(0, &["snapshots", "wiki"]);
    assert_eq!(listed[0].as_array().unwrap().len(), 2);
    assert_eq!(listed[0][0]["tags"], serde_json::json!(["old"]));
    bench.with(0, &["restore", "wiki", "--to", "back"]);
    let back = bench.path("back/wiki").join(bench.path("source/file").strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(back).unwrap(), "changed");
    let (out, _) = import(&bench, 0, &[]);
    assert!(out.contains("here already: 2 snapshots") && out.contains("has all that it should have"), "{out}");
    bench.with(0, &["check", "--read-data"]);
}

#[test]
fn what_keep_lets_go_of_stays_unless_all_is_wanted_or_it_is_named() {
    let bench = two_families();
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        bench.expect(0, &["backup", "./source"]);
    }
    let rows = |more: &[&str]| -> Vec<Value> {
        json(&bench, &[&["--dry-run"], more].concat())[0]["snapshots"].as_array().unwrap().clone()
    };
    let actions =
        |rows: &[Value]| -> Vec<String> { rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect() };
    let plan = rows(&[]);
    // However few the rule keeps, the newest three of a group stay.
    assert_eq!(actions(&plan), ["left-out", "import", "import", "import"]);
    assert_eq!(actions(&rows(&["--all"])), ["import"; 4]);
    let first = plan[0]["id"].as_str().unwrap();
    assert_eq!(actions(&rows(&[&first[..8]])), ["import"]);
    assert_eq!(actions(&rows(&["--tag", "old", "--all"])), ["import"]);
    assert_eq!(actions(&rows(&["--host", "elsewhere"])), [""; 0]);
    let done = json(&bench, &[&first[..8]]);
    let told: Vec<_> = done.iter().map(|line| line["message_type"].as_str().unwrap()).collect();
    assert_eq!(told, ["plan", "imported", "summary"]);
    assert_eq!((&done[1]["id"], &done[1]["total_files_processed"]), (&first.into(), &2.into()));
    let shown = bench.lines(0, &["snapshots", done[1]["snapshot_id"].as_str().unwrap()]);
    let imported = &shown[0]["imported"];
    assert_eq!((&imported["format"], &imported["snapshot"]), (&"bk".into(), &first.into()));
}

#[test]
fn mistakes_are_named_with_a_way_on() {
    let bench = two_families();
    for (arguments, words) in [
        (&["import", "./new"][..], "both whence and where to"),
        (&["import", "./nowhere"], "no repository"),
        (&["import", "./data/repository", "--from-key-file", "key"], "wrong password or key"),
        (&["import", "./data/repository", "--from-key-file", "data/key", "12345678"], "there is no snapshot 12345678"),
        (&["import", "./data/repository", "--from-key-file", "data/key", "--assign", "wiki"], "no rule for profiles"),
        (&["import", "restic:./x", "--from-key-file", "key"], "opened by the password of restic"),
    ] {
        let output = bench.bk(&[&["-c", "bk.toml"], arguments].concat()).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words) && said.contains("hint: "), "{arguments:?}\n{said}");
    }
}
