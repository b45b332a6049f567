//! Snapshots of bk are written into a repository of restic, from which the real restic and the real rustic restore.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::place::{Made, Place, nanos, said_by_bk, said_by_restic};
use super::running::Running;
use super::trees;

/// What restic lists is what bk lists, and says whence it came.
#[track_caller]
fn is_the_same_list(place: &Place, name: &str) {
    let theirs = place.restic_snapshots(&place.name(name));
    let mut ours = place.snapshots(&[]);
    ours.sort_by_key(|one| nanos(&one["time"]));
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs["original"], ours["id"], "{theirs}");
        let (mut expected, profile) = (said_by_bk(ours), ours["profile"].as_str());
        expected.1.extend(profile.filter(|name| !name.is_empty()).map(|name| format!("profile:{name}")));
        expected.1.sort();
        assert_eq!(said_by_restic(theirs), expected);
    }
}

/// Restic and rustic find it whole and restore the newest as it is.
#[track_caller]
fn is_whole(place: &Place, name: &str, source: &Path) {
    let repository = &place.name(name);
    place.restic_checks(repository);
    place.restic_restores(repository, "latest", source);
    place.rustic_restores(repository, "latest", source);
}

#[test]
fn everything_that_restic_can_hold_is_restored_by_restic_and_rustic_as_it_was() {
    let place = Place::new();
    let source = place.large_tree("source", false);
    place.bench.backs_up(&[&source]);
    let said = place.expect(0, &["export", &place.location("out")]);
    assert!(said.contains("made"), "it says that it makes the repository: {said}");
    is_the_same_list(&place, "out");
    is_whole(&place, "out", &source);
    place.rustic(&place.name("out"), &["check", "--read-data"]);
    assert!(place.locks("out").is_empty(), "no lock is left");
    let before = place.objects("out");
    place.expect(0, &["export", &place.location("out")]);
    assert_eq!(place.objects("out"), before, "the second export stores nothing");
}

#[test]
fn what_restic_loses_is_exported_all_the_same_and_nothing_else_suffers() {
    let place = Place::new();
    let source = place.large_tree("source", true);
    place.bench.backs_up(&[&source]);
    place.expect(0, &["export", &place.location("out")]);
    let repository = &place.name("out");
    place.restic_checks(repository);
    let to = place.path("restored");
    place.restic(repository, &["restore", "latest", "--target", to.to_str().unwrap()]);
    let copy = to.join(source.strip_prefix("/").unwrap());
    for holes in ["more/holes", "more/all-hole"] {
        assert_eq!(std::fs::read(copy.join(holes)).unwrap(), std::fs::read(source.join(holes)).unwrap());
    }
    for path in [&source, &copy] {
        std::fs::remove_dir_all(path.join("more")).unwrap();
        trees::set_mtime(path, 77, 7);
    }
    trees::same(&place.bench, &source, &copy);
}

#[test]
fn a_repository_that_restic_made_and_uses_takes_exports_beside_its_own_snapshots() {
    let place = Place::new();
    let source = place.small_tree("source");
    for made in Made::with_little() {
        place.make(made, "out", &source);
        std::fs::write(source.join("page"), format!("{made:?}")).unwrap();
        place.bench.backs_up(&[&source]);
        place.expect(0, &["export", &place.location("out")]);
        let repository = &place.name("out");
        let listed = place.restic_snapshots(repository);
        let exported: Vec<&Value> = listed.iter().filter(|one| one["original"].is_string()).collect();
        assert_eq!((listed.len() - exported.len(), exported.len()), (1, place.snapshots(&[]).len()), "{made:?}");
        place.restic_checks(repository);
        place.restic_restores(repository, exported.last().unwrap()["id"].as_str().unwrap(), &source);
        // And restic goes on using it.
        place.back_up(made, "out", &source);
        place.restic_checks(repository);
        trees::clean(&place.path("out"));
    }
}

#[test]
fn a_file_that_changed_and_got_its_old_time_back_is_exported_as_it_is_now() {
    let place = Place::new();
    let source = place.small_tree("source");
    let film = source.join("film");
    std::fs::write(&film, trees::noise(42, 24_000_000)).unwrap();
    trees::set_mtime(&film, 1_600_000_000, 5);
    place.bench.backs_up(&[&source]);
    place.expect(0, &["export", &place.location("out")]);
    let before = place.size("out");
    let mut bytes = std::fs::read(&film).unwrap();
    bytes[1_500_000] ^= 1;
    std::fs::write(&film, bytes).unwrap();
    trees::set_mtime(&film, 1_600_000_000, 5);
    place.bench.backs_up(&[&source]);
    place.expect(0, &["export", &place.location("out")]);
    is_the_same_list(&place, "out");
    is_whole(&place, "out", &source);
    // What did not change is not stored again, although its folder is new.
    let grown = place.size("out") - before;
    assert!(grown < 10_000_000, "{grown} bytes for a chunk of at most 8 MiB");
}

#[test]
fn an_export_that_was_stopped_in_the_middle_goes_on_and_leaves_a_whole_repository() {
    let place = Place::new();
    let source = place.bench.folder("source");
    for round in 0..2 {
        for file in 0..2 {
            std::fs::write(source.join(file.to_string()), trees::noise(round * 10 + file, 30_000_000)).unwrap();
        }
        place.bench.backs_up(&[&source]);
    }
    let location = place.location("out");
    let repository = &place.name("out");
    place.make_empty(Made::V2("auto"), "out");
    for (signal, code, enough) in [(Signal::KILL, 137, 20 << 20), (Signal::INT, 130, 70 << 20)] {
        let mut running = Running::start(&mut place.bk_command(&["export", &location]));
        running.until("packs", || place.size("out") > enough);
        running.signal(signal);
        let (ended, said) = running.ends();
        assert_eq!(ended, code, "{said}");
        assert!(place.restic_snapshots(repository).len() < 2, "it was stopped in time");
        if signal == Signal::KILL {
            place.restic(repository, &["unlock"]);
        }
        assert!(place.locks("out").is_empty(), "no lock is left");
        place.restic_checks(repository);
    }
    place.expect(0, &["export", &location]);
    is_the_same_list(&place, "out");
    is_whole(&place, "out", &source);
}

#[test]
fn profiles_and_snapshots_are_chosen_and_a_dry_run_writes_nothing() {
    let place = Place::new();
    let source = place.small_tree("source");
    let other = place.small_tree("other");
    let config = format!("[profile.wiki]\nroot = {:?}\n[profile.shop]\nroot = {:?}\n", source, other);
    std::fs::write(place.path("bk.toml"), config).unwrap();
    for profile in ["wiki", "shop", "wiki"] {
        place.expect(0, &["backup", profile]);
    }
    let location = place.location("out");
    let plan = place.expect(0, &["export", &location, "--dry-run"]);
    let ids: Vec<String> = place.snapshots(&[]).iter().map(|one| one["id"].as_str().unwrap()[..8].to_owned()).collect();
    for id in &ids {
        assert!(plan.contains(id.as_str()), "{plan}");
    }
    assert!(!place.path("out/config").exists(), "a dry run makes no repository");
    place.expect(0, &["export", &location, "shop"]);
    let repository = &place.name("out");
    let listed = place.restic_snapshots(repository);
    assert_eq!((listed.len(), &listed[0]["tags"]), (1, &serde_json::json!(["profile:shop"])));
    place.restic_restores(repository, "latest", &other);
    place.expect(0, &["export", &location, &ids[0]]);
    assert_eq!(place.restic_snapshots(repository).len(), 2);
    place.expect(0, &["export", &location]);
    is_the_same_list(&place, "out");
}
