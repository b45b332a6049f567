//! A restic repository among those of a profile: every night it is exported to, thinned and pruned, and it never costs
//! the backup.

use std::path::PathBuf;

use super::place::{Made, Place, is_torture};
use super::trees;

fn machine() -> (Place, PathBuf) {
    let place = Place::new();
    let source = place.small_tree("source");
    let config = format!(
        "[family]\nkey-file = {:?}\n[repository.ssd]\nlocation = {:?}\nkeep = {{ last = 20 }}\n[repository.escape]\nlocation = {:?}\n\
         format = \"restic\"\npassword-file = {:?}\nkeep = {{ last = 4 }}\n\
         [profile.wiki]\nroot = {source:?}\nto = [\"ssd\", \"escape\"]\n",
        place.name("key"),
        place.name("ssd"),
        place.name("escape"),
        place.name("password"),
    );
    std::fs::write(place.path("bk.toml"), config).unwrap();
    place.expect(0, &["init"]);
    (place, source)
}

#[test]
fn nights_leave_what_keep_says_in_a_repository_that_restic_finds_whole() {
    let (place, source) = machine();
    let repository = &place.name("escape");
    let mut sizes = Vec::new();
    let nights = if is_torture() { 10 } else { 6 };
    for night in 0..nights {
        std::fs::write(source.join("film"), trees::noise(100 + night, 3_000_000)).unwrap();
        std::fs::write(source.join(format!("night-{night}")), format!("{night}")).unwrap();
        place.expect(0, &["run"]);
        place.restic_checks(repository);
        if night == 2 {
            // Somebody uses it for something of his own; that is nobody else's business.
            place.back_up(Made::V2("auto"), "escape", &source);
        }
        sizes.push(place.size("escape"));
        assert!(place.locks("escape").is_empty());
    }
    let listed = place.restic_snapshots(repository);
    let own = listed.iter().filter(|one| one["original"].is_null()).count();
    assert_eq!((own, listed.len()), (1, 5), "{listed:?}");
    assert_eq!(place.snapshots(&["--repo", "ssd"]).len() as u64, nights);
    assert!(listed.iter().filter(|one| !one["original"].is_null()).all(|one| one["tags"][0] == "profile:wiki"));
    place.restic_restores(repository, "latest", &source);
    // What is forgotten is pruned, in two steps a day apart, so that all of it is still there; to restic it is waste.
    place.restic(repository, &["prune", "--max-unused", "0"]);
    let left = place.size("escape");
    assert!(left < 20_000_000, "five films, and not {left} bytes: {sizes:?}");
    place.restic_checks(repository);
    place.restic_restores(repository, "latest", &source);
    place.bk_restores(&["--repo", "ssd"], "latest", &source);
    place.bk_restores(&["--repo", "escape"], "latest", &source);
}

#[test]
fn a_night_without_it_is_a_backup_that_is_behind_and_the_next_brings_both() {
    let (place, source) = machine();
    place.expect(0, &["run"]);
    std::fs::rename(place.path("escape"), place.path("away")).unwrap();
    std::fs::write(source.join("film"), trees::noise(7, 3_000_000)).unwrap();
    let said = place.expect(7, &["run"]);
    assert!(said.contains("escape"), "it is named: {said}");
    assert_eq!(place.snapshots(&["--repo", "ssd"]).len(), 2, "the backup itself is there");
    let status = place.bk(&["status"]);
    assert!(status.text().contains("escape"), "{}", status.text());
    std::fs::rename(place.path("away"), place.path("escape")).unwrap();
    std::fs::write(source.join("film"), trees::noise(8, 3_000_000)).unwrap();
    place.expect(0, &["run"]);
    let repository = &place.name("escape");
    assert_eq!(place.restic_snapshots(repository).len(), 3, "what it lacked came too");
    place.restic_checks(repository);
    place.restic_restores(repository, "latest", &source);
}

#[test]
fn without_the_configuration_the_escape_is_restored_by_restic_and_by_bk() {
    let (place, source) = machine();
    place.expect(0, &["backup", "wiki"]);
    for lost in ["ssd", "data", "key", "bk.toml"] {
        trees::clean(&place.path(lost));
        let _ = std::fs::remove_file(place.path(lost));
    }
    place.restic_restores(&place.name("escape"), "latest", &source);
    place.bk_restores(&["--repo", &place.location("escape")], "latest", &source);
}
