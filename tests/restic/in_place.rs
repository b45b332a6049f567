//! What restic and rustic have made is read where it lies: listed, shown, restored, checked; nothing there changes.

use super::place::{Made, Place, said_by_bk, said_by_restic, words};
use super::trees::{self, Said};

/// Everything that reads, on a repository with one snapshot of `source` that holds `file`.
fn reads(place: &Place, source: &std::path::Path, file: &str) {
    let before = place.objects("there");
    let location = place.location("there");
    let repo = ["--repo", location.as_str()];
    let theirs = place.restic_snapshots(&place.name("there"));
    let ours = place.snapshots(&repo);
    assert_eq!(ours.iter().map(said_by_bk).collect::<Vec<_>>(), theirs.iter().map(said_by_restic).collect::<Vec<_>>());
    let id = theirs[0]["id"].as_str().unwrap();
    assert_eq!(ours[0]["id"], id, "restic's ids are taken over");
    let path = source.join(file);
    let path = path.to_str().unwrap();
    let listed = place.expect(0, &[&repo[..], &["ls", &id[..8], path]].concat());
    assert!(listed.contains(file), "{listed}");
    let dumped = place.bk_command(&[&repo[..], &["dump", "latest", path]].concat()).output().unwrap();
    assert_eq!(dumped.stdout, std::fs::read(path).unwrap(), "{}", String::from_utf8_lossy(&dumped.stderr));
    place.bk_restores(&repo, &id[..8], source);
    place.expect(0, &[&repo[..], &["check"]].concat());
    place.expect(0, &[&repo[..], &["check", "--read-data"]].concat());
    assert_eq!(place.objects("there"), before, "reading changes nothing");
    assert!(place.locks("there").is_empty(), "no lock is left");
}

#[test]
fn everything_that_restic_can_hold_comes_out_of_its_repository_as_it_was() {
    let place = Place::new();
    let source = place.large_tree("source", false);
    for made in Made::with_much() {
        place.make(made, "there", &source);
        reads(&place, &source, "sizes/film-again");
        trees::clean(&place.path("there"));
    }
}

#[test]
fn repositories_of_every_version_and_compression_and_of_rustic_are_read() {
    let place = Place::new();
    let source = place.small_tree("source");
    for made in Made::with_little() {
        place.make(made, "there", &source);
        reads(&place, &source, "film");
        trees::clean(&place.path("there"));
    }
}

#[test]
fn snapshots_are_chosen_by_id_host_tag_and_age_as_in_a_repository_of_bk() {
    let place = Place::new();
    let source = place.small_tree("source");
    let repository = place.name("there");
    place.make(Made::V2("auto"), "there", &source);
    std::fs::write(source.join("later"), "later").unwrap();
    place.restic(&repository, &["backup", "--host", "other", "--tag", "new", source.to_str().unwrap()]);
    let location = place.location("there");
    let repo = |more: &[&str]| place.expect(0, &[&["--repo", &location], more].concat());
    let later = source.join("later");
    let later = later.to_str().unwrap();
    assert!(repo(&["dump", "latest", later]).contains("later"));
    assert!(repo(&["dump", "latest", "--host", "other", later]).contains("later"));
    let other = place.bk(&["--repo", &location, "dump", "latest", "--host", "there", later]);
    assert_ne!(other.status.code(), Some(0), "the other host has no such file: {}", other.text());
    assert!(repo(&["find", "later"]).contains("later"));
    let ids: Vec<String> =
        place.restic_snapshots(&repository).iter().map(|one| one["id"].as_str().unwrap()[..8].to_owned()).collect();
    assert!(repo(&["diff", &ids[0], &ids[1]]).contains("later"));
    place.bk_restores(&["--repo", &location], &ids[1], &source);
}

#[test]
fn what_reads_and_writes_nothing_else_is_all_that_is_allowed_there() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    let (before, location) = (place.objects("there"), place.location("there"));
    for arguments in [&["backup", "./source"][..], &["pin", "latest"], &["key", "list"], &["verify"], &["copy"]] {
        let said = place.bk(&[&["--repo", &location], arguments].concat());
        let text = words(&said.text());
        assert_eq!(said.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains("hint: ") && text.contains("restic"), "{arguments:?}: {text}");
    }
    // What bk did not export it does not forget.
    place.expect(0, &["--repo", &location, "forget", "--keep-last", "1"]);
    assert_eq!(place.objects("there"), before);
}

#[test]
fn a_snapshot_of_several_paths_is_restored_with_each_of_them() {
    let place = Place::new();
    let (one, two) = (place.small_tree("one"), place.small_tree("two/below"));
    let repository = place.name("there");
    place.make_empty(Made::V2("auto"), "there");
    place.restic(&repository, &["backup", one.to_str().unwrap(), two.to_str().unwrap()]);
    let location = place.location("there");
    let to = place.path("restored");
    Said::by(&mut place.bk_command(&["--repo", &location, "restore", "latest", "--to", to.to_str().unwrap()])).exits(0);
    let below = std::fs::read_dir(&to).unwrap().next().unwrap().unwrap().path();
    for source in [one, two] {
        trees::same(&place.bench, &source, &below.join(source.strip_prefix("/").unwrap()));
    }
}
