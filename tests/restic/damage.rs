//! A damaged repository of restic: what is damaged is named, what is not is restored and brought over, and nothing that
//! is broken is ever called whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::place::{Made, Place, is_torture, words};
use super::trees;

/// Two snapshots: of `first`, and of `first` and `second`. What only the second needs lies in files of its own.
struct Damaged {
    place: Place,
    source: PathBuf,
    /// Ids, oldest first.
    ids: Vec<String>,
    /// What the second snapshot added: folder and path.
    added: BTreeMap<&'static str, PathBuf>,
    aside: PathBuf,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Flip,
    Cut,
    Empty,
    Delete,
}

/// Every day two of them; all for the tortures.
fn harms() -> &'static [Harm] {
    if is_torture() { &[Harm::Flip, Harm::Cut, Harm::Empty, Harm::Delete] } else { &[Harm::Flip, Harm::Delete] }
}

fn harm(path: &Path, harm: Harm) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match harm {
        Harm::Flip => bytes[middle] ^= 1,
        Harm::Cut => bytes.truncate(middle),
        Harm::Empty => bytes.clear(),
        Harm::Delete => return std::fs::remove_file(path).unwrap(),
    }
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

impl Damaged {
    fn new() -> Self {
        let place = Place::new();
        let source = place.bench.folder("source");
        place.bench.file("source/first/page", trees::noise(1, 200_000));
        place.make(Made::V2("auto"), "there", &source);
        let before = place.objects("there");
        place.bench.file("source/second/film", trees::noise(2, 400_000));
        place.back_up(Made::V2("auto"), "there", &source);
        let mut added: Vec<_> =
            place.objects("there").into_iter().filter(|(path, _)| !before.contains_key(path)).collect();
        // Of the new packs the larger one holds the film, the other one trees.
        added.sort_by_key(|(_, length)| *length);
        let within = |folder: &str| -> Vec<PathBuf> {
            let folder = place.path("there").join(folder);
            added.iter().map(|(path, _)| path.clone()).filter(|path| path.starts_with(&folder)).collect()
        };
        let packs = within("data");
        let [trees, data] = &packs[..] else { panic!("two new packs, not {packs:?}") };
        let [index, snapshot] = ["index", "snapshots"].map(|folder| within(folder).remove(0));
        let added = BTreeMap::from([
            ("trees", trees.clone()),
            ("data", data.clone()),
            ("index", index),
            ("snapshot", snapshot),
        ]);
        let theirs = place.restic_snapshots(&place.name("there"));
        let ids = theirs.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        let aside = place.path("aside");
        copy(&place.path("there"), &aside);
        Self { place, source, ids, added, aside }
    }

    /// Whole again, and nothing imported.
    fn heal(&self) {
        copy(&self.aside, &self.place.path("there"));
        trees::clean(&self.place.path("data"));
        trees::clean(&self.place.path("to"));
        self.place.init();
    }

    fn repo(&self, code: i32, arguments: &[&str]) -> String {
        let location = self.place.location("there");
        let said = self.place.expect(code, &[&["--repo", &location], arguments].concat());
        assert!(!said.contains("Backtrace") && !said.contains("rustic"), "words for its programmers: {said}");
        said
    }

    /// Where a file of a restored snapshot is.
    fn restored(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(trees::restored(&self.place.path("to"), &self.source).join(name)).ok()
    }

    fn restore(&self, code: i32, id: &str) -> String {
        trees::clean(&self.place.path("to"));
        self.repo(code, &["restore", &id[..8], "--to", "to"])
    }

    /// The first snapshot needs nothing of what was harmed.
    fn first_is_restored(&self) {
        self.restore(0, &self.ids[0]);
        assert_eq!(self.restored("first/page").unwrap(), trees::noise(1, 200_000));
    }

    /// Packs say themselves what is in them, so what an index said may be known all the same; else it is damage.
    fn restores_or_says_so(&self, what: &str, id: &str) {
        trees::clean(&self.place.path("to"));
        let said = self.place.bk(&["--repo", &self.place.location("there"), "restore", &id[..8], "--to", "to"]);
        match said.status.code() {
            Some(0) => {
                let copy = trees::restored(&self.place.path("to"), &self.source);
                trees::same(&self.place.bench, &self.source, &copy);
            }
            code => assert_eq!(code, Some(5), "{what}: {}", said.text()),
        }
    }

    /// The check finds it, and names the object when `name` is given.
    fn is_found(&self, what: &str, read_data: bool, name: Option<&Path>) {
        let arguments: &[&str] = if read_data { &["check", "--read-data"] } else { &["check"] };
        let said = self.repo(5, arguments);
        assert!(!said.contains("whole"), "{what}: {said}");
        if let Some(name) = name {
            let id = name.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(&id[..8]), "{what}: it names {id}: {said}");
        }
    }
}

#[test]
fn a_pack_of_file_contents_costs_those_files_only() {
    let damaged = Damaged::new();
    let pack = &damaged.added["data"];
    for how in harms().iter().copied() {
        damaged.heal();
        harm(pack, how);
        let what = format!("{how:?}");
        damaged.is_found(&what, how == Harm::Flip, Some(pack));
        damaged.first_is_restored();
        let said = damaged.restore(5, &damaged.ids[1]);
        assert!(said.contains("second/film"), "{what}: {said}");
        assert_eq!(damaged.restored("first/page").unwrap(), trees::noise(1, 200_000), "{what}");
        assert_ne!(damaged.restored("second/film"), Some(trees::noise(2, 400_000)), "{what}");
        let location = damaged.place.location("there");
        let said = damaged.place.expect(5, &["import", &location]);
        assert!(said.contains("second/film"), "{what}: {said}");
        let ours = damaged.place.snapshots(&[]);
        let outcomes: Vec<_> = ours.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["complete", "incomplete"], "{what}");
    }
}

#[test]
fn a_pack_of_folders_costs_those_folders_only() {
    let damaged = Damaged::new();
    let pack = &damaged.added["trees"];
    for how in harms().iter().copied() {
        damaged.heal();
        harm(pack, how);
        let what = format!("{how:?}");
        damaged.is_found(&what, false, Some(pack));
        damaged.first_is_restored();
        damaged.restore(5, &damaged.ids[1]);
        let location = damaged.place.location("there");
        damaged.place.expect(5, &["import", &location]);
        let ours = damaged.place.snapshots(&[]);
        assert!(ours.iter().any(|one| one["outcome"] == "complete"), "{what}: the first came: {ours:?}");
        assert!(ours.iter().filter(|one| one["outcome"] == "complete").count() == 1, "{what}: {ours:?}");
    }
}

#[test]
fn a_damaged_index_hides_what_it_named_and_is_found() {
    let damaged = Damaged::new();
    let index = &damaged.added["index"];
    for how in harms().iter().copied() {
        damaged.heal();
        harm(index, how);
        let what = format!("{how:?}");
        // Of one that is gone nobody knows the name; what it named is missing.
        damaged.is_found(&what, false, (how != Harm::Delete).then_some(index));
        damaged.first_is_restored();
        damaged.restores_or_says_so(&what, &damaged.ids[1]);
        let location = damaged.place.location("there");
        let said = damaged.place.bk(&["import", &location]);
        let ours = damaged.place.snapshots(&[]);
        let complete = ours.iter().filter(|one| one["outcome"] == "complete").count();
        match said.status.code() {
            Some(0) => {
                assert_eq!(complete, 2, "{what}: {}", said.text());
                damaged.place.bk_restores(&[], "latest", &damaged.source);
            }
            code => assert_eq!((code, complete), (Some(5), 1), "{what}: {}", said.text()),
        }
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_the_others_are_there() {
    let damaged = Damaged::new();
    let snapshot = &damaged.added["snapshot"];
    for how in [Harm::Flip, Harm::Cut, Harm::Empty] {
        damaged.heal();
        harm(snapshot, how);
        let what = format!("{how:?}");
        damaged.is_found(&what, false, Some(snapshot));
        damaged.first_is_restored();
        let listed = damaged.place.bk(&["--repo", &damaged.place.location("there"), "snapshots"]);
        let said = words(&listed.text());
        assert!(said.contains(&damaged.ids[0][..8]) && said.contains(&damaged.ids[1][..8]), "{what}: {said}");
        assert_eq!(listed.status.code(), Some(5), "{what}: {said}");
        let said = damaged.place.expect(5, &["import", &damaged.place.location("there")]);
        assert!(said.contains(&damaged.ids[1][..8]), "{what}: {said}");
        assert_eq!(damaged.place.snapshots(&[]).len(), 1, "{what}");
    }
}

#[test]
fn a_damaged_config_or_key_opens_nothing_and_is_no_missing_repository() {
    let damaged = Damaged::new();
    let there = damaged.place.path("there");
    let key = std::fs::read_dir(there.join("keys")).unwrap().next().unwrap().unwrap().path();
    for (path, code) in [(there.join("config"), 5), (key, 12)] {
        for how in [Harm::Flip, Harm::Cut, Harm::Empty] {
            damaged.heal();
            harm(&path, how);
            let location = damaged.place.location("there");
            for arguments in [&["--repo", &location, "snapshots"][..], &["import", &location], &["export", &location]] {
                let said = damaged.place.bk(arguments);
                let ended = said.status.code().unwrap();
                // A key that is no key any more is damage; one that does not open is like a wrong password.
                assert!(ended == code || ended == 5, "{how:?} {}: {arguments:?}: {}", path.display(), said.text());
                assert!(said.text().contains("hint: "), "{}", said.text());
            }
        }
    }
}

#[test]
fn what_was_left_out_of_an_import_comes_with_the_next_one_when_it_can_be_read_again() {
    let damaged = Damaged::new();
    let location = damaged.place.location("there");
    harm(&damaged.added["data"], Harm::Delete);
    damaged.place.init();
    damaged.place.expect(5, &["import", &location]);
    copy(&damaged.aside, &damaged.place.path("there"));
    damaged.place.expect(0, &["import", &location]);
    damaged.place.bk_restores(&[], "latest", &damaged.source);
    let before = damaged.place.snapshots(&[]);
    damaged.place.expect(0, &["import", &location]);
    assert_eq!(damaged.place.snapshots(&[]), before);
}

#[test]
fn an_export_that_needs_what_is_damaged_there_makes_no_snapshot_that_cannot_be_restored() {
    let place = Place::new();
    let source = place.bench.folder("source");
    place.bench.file("source/film", trees::noise(2, 400_000));
    place.bench.backs_up(&[&source]);
    let location = place.location("out");
    place.expect(0, &["export", &location]);
    let before = place.objects("out");
    let packs = || before.keys().filter(|path| path.starts_with(place.path("out/data")));
    let data = packs().max_by_key(|path| before[*path]).unwrap();
    std::fs::write(source.join("page"), "page").unwrap();
    place.bench.backs_up(&[&source]);
    harm(data, Harm::Delete);
    // Either it stores the film again or it says what is missing; it never calls it done.
    let said = place.bk(&["export", &location]);
    match said.status.code() {
        Some(0) => place.restic_restores(&place.name("out"), "latest", &source),
        code => assert_eq!(code, Some(5), "{}", said.text()),
    }
}
