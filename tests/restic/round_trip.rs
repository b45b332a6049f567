//! There and back: nothing is lost between the two formats, and nothing comes twice.

use super::place::{Made, Place, said_by_restic};
use super::trees;

#[test]
fn what_goes_from_restic_to_bk_to_restic_is_what_restic_had() {
    let place = Place::new();
    let source = place.large_tree("source", false);
    place.make(Made::V2("auto"), "there", &source);
    place.restic(
        &place.name("there"),
        &["backup", "--host", "second", "--time", "2020-02-29 12:13:14", source.to_str().unwrap()],
    );
    place.init();
    place.expect(0, &["import", &place.location("there"), "--all"]);
    place.expect(0, &["export", &place.location("out"), "--all"]);
    let said = |name: &str| place.restic_snapshots(&place.name(name)).iter().map(said_by_restic).collect::<Vec<_>>();
    assert_eq!(said("there"), said("out"));
    place.restic_checks(&place.name("out"));
    place.restic_restores(&place.name("out"), "latest", &source);
    // It came from there, so nothing is brought back and nothing is stored there.
    let before = place.snapshots(&[]);
    place.expect(0, &["import", &place.location("out"), "--all"]);
    assert_eq!(place.snapshots(&[]), before, "an export is recognised by the repository that made it");
}

#[test]
fn what_goes_from_bk_to_restic_to_bk_is_what_bk_had_also_what_restic_cannot_restore() {
    let place = Place::new();
    let source = place.large_tree("source", true);
    place.bench.backs_up(&[&source]);
    let first = place.snapshots(&[]);
    place.expect(0, &["export", &place.location("out")]);
    std::fs::rename(place.path("data"), place.path("first-data")).unwrap();
    place.init();
    place.expect(0, &["import", &place.location("out")]);
    let second = place.snapshots(&[]);
    let [first, second] = [first, second].map(|list| super::place::said_by_bk(&list[0]));
    assert_eq!(first, second);
    // Holes are the only thing that the format of restic has no words for.
    let to = place.path("restored");
    place.expect(0, &["restore", "latest", "--to", to.to_str().unwrap()]);
    let copy = trees::restored(&to, &source);
    for name in ["more/holes", "more/all-hole"] {
        assert_eq!(std::fs::read(copy.join(name)).unwrap(), std::fs::read(source.join(name)).unwrap());
        for path in [&source, &copy] {
            std::fs::remove_file(path.join(name)).unwrap();
            trees::set_mtime(&path.join("more"), 77, 7);
        }
    }
    trees::same(&place.bench, &source, &copy);
}
