//! Disks that are full or can only be read.

use std::ffi::OsStr;

use super::place::{Made, Place};
use super::trees::{self, Mounted, Said, is_root, skipped};

/// A file system in memory of so many bytes at `disk`.
fn mounted(place: &Place, bytes: u64) -> Option<Mounted> {
    if !is_root() {
        skipped("a disk of its own", "only root can mount");
        return None;
    }
    let options = format!("size={bytes},mode=0700");
    let arguments = ["-t", "tmpfs", "-o", &options, "bk-test"].map(OsStr::new);
    Mounted::new(place.path("disk"), &arguments).map_err(|why| skipped("a disk of its own", why)).ok()
}

fn remount(place: &Place, options: &str) {
    let mut command = place.bench.command("mount");
    Said::by(command.args(["-o", &format!("remount,{options}")]).arg(place.path("disk"))).exits(0);
}

#[test]
fn an_export_to_a_full_disk_says_so_and_the_next_one_goes_on() {
    let place = Place::new();
    let Some(_mounted) = mounted(&place, 64 << 20) else { return };
    let source = place.bench.folder("source");
    for number in 0..4 {
        place.bench.file(&format!("source/{number}"), trees::noise(number, 10_000_000));
    }
    place.bench.backs_up(&[&source]);
    let location = place.location("disk/out");
    let repository = &place.name("disk/out");
    place.make_empty(Made::V2("auto"), "disk/out");
    for room in [1 << 20, 20 << 20] {
        remount(&place, &format!("size={room}"));
        let said = place.expect(1, &["export", &location]);
        assert!(said.contains("no room is left") && said.contains("hint: "), "{said}");
        remount(&place, &format!("size={}", 64 << 20));
        assert!(place.locks("disk/out").is_empty(), "no lock is left");
        assert!(place.restic_snapshots(repository).is_empty());
        place.restic_checks(repository);
    }
    place.expect(0, &["export", &location]);
    place.restic_checks(repository);
    place.restic_restores(repository, "latest", &source);
}

#[test]
fn a_repository_that_can_only_be_read_is_read_and_imported_without_a_lock() {
    let place = Place::new();
    let Some(_mounted) = mounted(&place, 64 << 20) else { return };
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "disk/there", &source);
    remount(&place, "ro");
    let location = place.location("disk/there");
    place.bk_restores(&["--repo", &location], "latest", &source);
    place.expect(0, &["--repo", &location, "check", "--read-data"]);
    place.init();
    place.expect(0, &["import", &location]);
    place.bk_restores(&[], "latest", &source);
    let said = place.expect(1, &["export", &location]);
    assert!(said.contains("hint: ") && said.contains("disk/there"), "{said}");
}
