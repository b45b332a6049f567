//! When `bk verify` is due, for whom, and who hears of it.

use std::time::Duration;

use serde_json::Value;

use super::Bench;
use super::verify::ONE;

impl Bench {
    /// What was told since the last call: events with their profile.
    fn told(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("told")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("told"));
        let notices =
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
        let entries: Vec<Value> = notices.flat_map(|notice| notice["entries"].as_array().unwrap().clone()).collect();
        entries
            .iter()
            .map(|entry| format!("{} {}", entry["event"].as_str().unwrap(), entry["profile"].as_str().unwrap_or("-")))
            .collect()
    }

    /// Damages every pack; gives what they were.
    fn damage(&self) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut packs = self.files("ssd");
        packs.retain(|(path, _)| path.starts_with(self.path("ssd/packs")));
        packs.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
        packs
    }
}

fn mend(packs: Vec<(std::path::PathBuf, Vec<u8>)>) {
    packs.into_iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}

#[test]
fn what_was_verified_is_not_due_until_its_time_has_come_and_what_failed_is() {
    let bench = Bench::verifiable("");
    let packs = bench.damage();
    bench.verify(6, &["--due"]);
    bench.verify(6, &["--due"]);
    mend(packs);
    let said = bench.verify(0, &["--due"]);
    assert!(said.contains("wiki restores; verified in"), "{said}");
    let said = bench.verify(0, &["--due"]);
    assert!(said.contains("wiki: not due: verified") && said.contains("due in 7 d"), "{said}");
    // By hand it is verified whenever it is asked for.
    assert!(bench.verify(0, &["wiki"]).contains("wiki restores"));
    bench.configure(&format!("{ONE}[defaults.verify]\nevery = \"1s\"\n"));
    std::thread::sleep(Duration::from_millis(1100));
    assert!(bench.verify(0, &["--due"]).contains("wiki restores"));
    bench.configure(&format!("{ONE}[profile.wiki.verify]\nevery = \"never\"\n"));
    assert!(bench.verify(0, &["--due"]).contains("wiki: verified only by hand"));
    // The next snapshot need not be: that of the week was.
    bench.configure(ONE);
    bench.with(0, &["backup", "wiki"]);
    assert!(bench.verify(0, &["--due"]).contains("not due"));
}

#[test]
fn what_left_out_the_databases_is_no_whole_verification() {
    let bench = Bench::configured(ONE);
    let database = rusqlite::Connection::open(bench.path("source/app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (i INT); INSERT INTO t VALUES (1), (2);").unwrap();
    bench.with(0, &["backup", "wiki"]);
    let said = bench.verify(0, &["wiki", "--only", "files"]);
    assert!(said.contains("wiki: its files restore, and 1 database was left out"), "{said}");
    assert_eq!((&bench.proved()["full"], &bench.proved()["not-run"]), (&false.into(), &1.into()));
    let (out, _) = bench.with(0, &["snapshots"]);
    assert!(out.contains("verified in part"), "{out}");
    let said = bench.verify(0, &["wiki", "--only", "databases"]);
    assert!(said.contains("is whole: 1 table, 2 rows") && !said.contains("restored and compared"), "{said}");
    assert!(said.contains("its databases restore, and no file was looked at"), "{said}");
    assert!(bench.verify(0, &["--due"]).contains("wiki restores; verified in"), "both were only half of it");
    assert!(bench.verify(0, &["--due"]).contains("not due"));
    // Whoever says in the configuration that files are not meant has all of it with the databases.
    bench.with(0, &["backup", "wiki"]);
    bench.configure(&format!("{ONE}[profile.wiki.verify]\nfiles = \"none\"\nevery = \"1s\"\n"));
    std::thread::sleep(Duration::from_millis(1100));
    assert!(bench.verify(0, &["--due"]).contains("its databases restore"));
    bench.configure(&format!("{ONE}[profile.wiki.verify]\nfiles = \"none\"\nevery = \"60s\"\n"));
    assert!(bench.verify(0, &["--due"]).contains("not due"));
}

#[test]
fn a_machine_verifies_its_own_snapshots_where_another_has_a_profile_of_that_name() {
    let bench = Bench::verifiable("");
    let own = bench.past("ssd").ids().pop().unwrap();
    let other = bench.past("ssd").put(0, |snapshot| {
        snapshot.host = "elsewhere".into();
        snapshot.start.seconds += 1;
    });
    let other = other.to_string();
    assert_ne!(own, other);
    assert!(bench.verify(0, &["wiki", "--host", "elsewhere"]).contains(&other[..8]));
    let said = bench.verify(0, &["--due"]);
    assert!(
        said.contains(&own[..8]) && said.contains("wiki restores"),
        "that of the other proves nothing here: {said}"
    );
    assert!(bench.verify(0, &["--due"]).contains("not due"));
}

#[test]
fn the_newest_verified_snapshot_is_kept_and_it_is_said_why() {
    let bench = Bench::configured(&ONE.replace("[profile", "keep = { last = 1 }\n[profile"));
    bench.with(0, &["backup", "wiki"]);
    let past = bench.past("ssd");
    let verified = past.put(9 * 86_400, |_| {}).to_string();
    for day in 2..8 {
        past.put(day * 86_400, |_| {});
    }
    bench.verify(0, &[&verified]);
    let (out, _) = bench.with(0, &["forget", "--dry-run"]);
    let line = out.lines().find(|line| line.contains(&verified[..8])).unwrap_or_else(|| panic!("{out}"));
    assert!(line.contains("verified"), "{out}");
    bench.with(0, &["forget"]);
    assert!(bench.past("ssd").ids().contains(&verified));
}

#[test]
fn what_does_not_restore_is_told_and_that_it_does_again_is_told_once() {
    let bench = Bench::verifiable(
        "[notify.own]\nkind = \"program\"\ncommand = [\"sh\", \"-c\", \"cat >>HERE/told; echo >>HERE/told\"]\n\
         on = [\"failed\", \"damage\", \"recovered\"]\n",
    );
    bench.verify(0, &["--due", "--notify"]);
    assert_eq!(bench.told(), [""; 0]);
    let packs = bench.damage();
    bench.verify(6, &["wiki"]);
    assert_eq!(bench.told(), [""; 0], "by hand nobody is told");
    bench.verify(6, &["wiki", "--notify"]);
    assert_eq!(bench.told(), ["damage wiki"]);
    mend(packs);
    bench.verify(0, &["wiki", "--notify"]);
    assert_eq!(bench.told(), ["recovered wiki"]);
    bench.verify(0, &["wiki", "--notify"]);
    assert_eq!(bench.told(), [""; 0]);
}
