//! Snapshots of restic and rustic are brought into a repository of bk: whole, once, as they were, and after every
//! interruption.

use rustix::process::Signal;

use super::place::{Made, Place, said_by_bk, said_by_restic};
use super::running::Running;
use super::trees;

/// What restic has is what bk has, oldest first: host, tags, paths and time.
#[track_caller]
fn has_all(place: &Place, name: &str) {
    let mut theirs: Vec<_> = place.restic_snapshots(&place.name(name)).iter().map(said_by_restic).collect();
    let mut ours: Vec<_> = place.snapshots(&[]).iter().map(said_by_bk).collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}

/// Imported, imported again, and one more snapshot that came meanwhile.
fn comes_over(place: &Place, made: Made, source: &std::path::Path) {
    place.make(made, "there", source);
    let location = place.location("there");
    place.init();
    place.expect(0, &["import", &location]);
    has_all(place, "there");
    place.bk_restores(&[], "latest", source);
    let (stored, listed) = (place.objects("data/repository"), place.snapshots(&[]));
    place.expect(0, &["import", &location]);
    assert_eq!(place.snapshots(&[]), listed, "{made:?}: the second import brings nothing");
    assert_eq!(place.objects("data/repository"), stored, "{made:?}: and stores nothing");
    std::fs::write(source.join("added"), trees::noise(77, 10_000)).unwrap();
    place.back_up(made, "there", source);
    place.expect(0, &["import", &location]);
    has_all(place, "there");
    assert_eq!(place.snapshots(&[]).len(), 2);
    let grown = place.size("data/repository") - stored.values().sum::<u64>();
    assert!(grown < 500_000, "{made:?}: {grown} bytes for 10,000 new ones");
    place.bk_restores(&[], "latest", source);
    assert!(place.locks("there").is_empty(), "no lock is left");
    place.expect(0, &["check", "--read-data"]);
    std::fs::remove_file(source.join("added")).unwrap();
    for name in ["there", "data"] {
        trees::clean(&place.path(name));
    }
}

#[test]
fn everything_that_restic_can_hold_is_brought_over_as_it_was() {
    let place = Place::new();
    let source = place.large_tree("source", false);
    for made in Made::with_much() {
        comes_over(&place, made, &source);
    }
}

#[test]
fn repositories_of_every_version_and_compression_and_of_rustic_are_brought_over() {
    let place = Place::new();
    let source = place.small_tree("source");
    for made in Made::with_little() {
        comes_over(&place, made, &source);
    }
}

#[test]
fn the_first_backup_after_an_import_reads_nothing_that_is_unchanged() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    place.restic(&place.name("there"), &["backup", "--host", host.trim(), source.to_str().unwrap()]);
    place.init();
    place.expect(0, &["import", &place.location("there")]);
    let summary = place.bk(&["--json", "backup", "./source"]).exits(0);
    let summary = summary.json();
    // A file with two names is looked at once more: restic counts file systems in another way.
    assert_eq!((summary["files_new"].as_u64(), summary["bytes_read"].as_u64()), (Some(0), Some(4000)), "{summary}");
    assert!(summary["data_added_packed"].as_u64().unwrap() < 20_000, "{summary}");
    place.bk_restores(&[], "latest", &source);
}

/// A repository with snapshots of two large files each, which differ.
fn long_work(place: &Place) -> std::path::PathBuf {
    let source = place.bench.folder("source");
    place.make_empty(Made::V2("off"), "there");
    for round in 0..3 {
        for file in 0..2 {
            std::fs::write(source.join(file.to_string()), trees::noise(round * 10 + file, 25_000_000)).unwrap();
        }
        place.back_up(Made::V2("off"), "there", &source);
    }
    source
}

#[test]
fn an_import_that_was_stopped_in_the_middle_goes_on_where_it_was() {
    let place = Place::new();
    let source = long_work(&place);
    let location = place.location("there");
    place.init();
    for (signal, code, enough) in [(Signal::KILL, 137, 20 << 20), (Signal::INT, 130, 80 << 20)] {
        let mut running = Running::start(&mut place.bk_command(&["import", &location]));
        running.until("packs", || place.size("data/repository") > enough);
        running.signal(signal);
        let (ended, said) = running.ends();
        assert_eq!(ended, code, "{said}");
        place.expect(0, &["check"]);
        assert!(place.snapshots(&[]).len() < 3, "it was stopped in time");
        if signal == Signal::INT {
            assert!(place.locks("there").len() <= 1, "its own lock is gone, only that of the killed one may be left");
        }
    }
    place.expect(0, &["import", &location]);
    has_all(&place, "there");
    place.bk_restores(&[], "latest", &source);
    place.expect(0, &["check", "--read-data"]);
    // What the stopped ones had stored was used: 150 million bytes, and no file twice.
    let stored = place.size("data/repository");
    assert!(stored < 190_000_000, "{stored} bytes");
}

#[test]
fn what_is_chosen_is_brought_and_a_dry_run_brings_nothing() {
    let place = Place::new();
    let source = place.small_tree("source");
    let repository = place.name("there");
    place.make(Made::V2("auto"), "there", &source);
    for (host, tag) in [("red", "a"), ("blue", "b"), ("blue", "a")] {
        place.restic(&repository, &["backup", "--host", host, "--tag", tag, source.to_str().unwrap()]);
    }
    let location = place.location("there");
    let ids: Vec<String> =
        place.restic_snapshots(&repository).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    place.init();
    let plan = place.expect(0, &["import", &location, "--dry-run"]);
    for id in &ids {
        assert!(plan.contains(&id[..8]), "{plan}");
    }
    assert!(place.snapshots(&[]).is_empty());
    let hosts =
        || -> Vec<String> { place.snapshots(&[]).iter().map(|one| one["host"].as_str().unwrap().to_owned()).collect() };
    place.expect(0, &["import", &location, &ids[1][..8]]);
    assert_eq!(hosts(), ["red"]);
    place.expect(0, &["import", &location, "--host", "blue", "--tag", "b"]);
    assert_eq!(hosts(), ["red", "blue"]);
    place.expect(0, &["import", &location, "--profile", "wiki"]);
    assert_eq!(hosts().len(), 4);
    let profiles: Vec<_> = place.snapshots(&[]).iter().map(|one| one["profile"].clone()).collect();
    assert_eq!(profiles.iter().filter(|profile| *profile == "wiki").count(), 2, "{profiles:?}");
}
