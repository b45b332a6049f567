//! What restic and rustic have made is read where it lies: listed, shown, restored, checked; nothing there changes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::place::{Made, Place, said_by_bk, said_by_restic, words};
use super::trees::{self, Said};

/// Everything that reads, on a repository with one snapshot of `source` that holds `file`.
fn reads(place: &Place, source: &Path, file: &str) {
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

/// What `snapshot` of the golden repository holds, restored below `to`.
fn is_the_golden_tree(to: &Path) {
    let below = std::fs::read_dir(to).unwrap().next().unwrap().unwrap().path().join("source");
    let read = |name: &[u8]| std::fs::read(below.join(OsStr::from_bytes(name))).unwrap();
    let files: [(&[u8], Vec<u8>); 6] = [
        (b"page", b"a page\n".to_vec()),
        (b"second", b"a second\n".to_vec()),
        (b"folder/again", b"a page\n".to_vec()),
        (b"folder/caf\xe9", b"latin\n".to_vec()),
        (b"folder/quote\"back\\slash\nline", b"q\n".to_vec()),
        (b"folder/repeated", vec![b'x'; 3000]),
    ];
    for (name, bytes) in files {
        assert_eq!(read(name), bytes, "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(std::fs::read_link(below.join("folder/link")).unwrap(), Path::new("../page"));
    assert!(below.join("empty").is_dir());
    let [page, again, repeated] =
        ["page", "folder/again", "folder/repeated"].map(|name| std::fs::metadata(below.join(name)).unwrap());
    assert_eq!(page.ino(), again.ino(), "they are one file");
    assert_eq!(repeated.mode() & 0o7777, 0o4750);
    assert_eq!((repeated.mtime(), repeated.mtime_nsec()), (946_684_799, 123_456_789));
}

#[test]
fn a_repository_that_rustic_0_11_has_made_is_read_checked_and_brought_over() {
    let place = Place::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rustic-0.11.4");
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg("-r").arg(golden.join("repository")).arg(place.path("there")).status();
    assert!(copied.unwrap().success());
    let (location, password) = (place.location("there"), golden.join("password").display().to_string());
    let repo = ["--repo", location.as_str(), "--password-file", password.as_str()];
    let theirs = place.snapshots(&repo);
    assert_eq!(
        theirs.iter().map(|one| one["short_id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["ea68c403", "3d346b53"]
    );
    assert_eq!((&theirs[0]["tags"], &theirs[0]["host"]), (&serde_json::json!(["one", "two"]), &"machine".into()));
    place.expect(0, &[&repo[..], &["check", "--read-data"]].concat());
    let to = place.empty("restored");
    place.expect(0, &[&repo[..], &["restore", "latest", "--to", to.to_str().unwrap()]].concat());
    is_the_golden_tree(&to);
    place.init();
    place.expect(0, &["import", &location, "--restic-password-file", &password]);
    let ours = place.snapshots(&[]);
    assert_eq!(ours.iter().map(said_by_bk).collect::<Vec<_>>(), theirs.iter().map(said_by_bk).collect::<Vec<_>>());
    let to = place.empty("restored");
    place.expect(0, &["restore", "latest", "--to", to.to_str().unwrap()]);
    is_the_golden_tree(&to);
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
