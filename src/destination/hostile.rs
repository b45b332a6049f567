//! R9: a hostile repository, or somebody who plants and swaps links in the target, gets nothing outside it changed.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bench::{Bench, metadata};
use super::{Destination, DestinationError, Folder, Overwrite, Special};

/// Names that are not one entry: dots, paths, absolute paths, NUL, too long; 80 and more of them.
fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = vec![vec![], b".".to_vec(), b"..".to_vec(), vec![b'x'; 256], vec![b'x'; 100_000]];
    let tails: [&[u8]; 9] =
        [b"", b"etc", b"etc/passwd", b"victim", b"..", ".".as_bytes(), b"\0", b"victim\0.txt", b"x\n"];
    for head in [&b"/"[..], b"//", b"./", b"../", b"../../", b"a/", b"a/../", b"a/../../", b"./../", b"\0", b"..\0"] {
        names.extend(tails.iter().map(|tail| [head, tail].concat()));
    }
    names
}

/// Everything one can do with a name.
fn every_way(folder: &Folder, name: &[u8]) -> Vec<Result<(), DestinationError>> {
    let wanted = metadata(0o777);
    vec![
        folder.create_file(name).map(drop),
        folder.open_existing(name).map(drop),
        folder.open_read(name).map(drop),
        folder.existing(name).map(drop),
        folder.enter(name).map(drop),
        folder.make(name, Overwrite::Always).map(drop),
        folder.symlink(name, b"target", &wanted).map(drop),
        folder.special(name, Special::Fifo, &wanted).map(drop),
        folder.hard_link(folder, b"seed", name),
        folder.hard_link(folder, name, b"other"),
        folder.set_metadata(name, &wanted).map(drop),
        folder.read_link(name).map(drop),
        folder.remove(name),
        folder.remove_all(name),
    ]
}

/// A folder with a victim beside it: what the attacks aim at.
struct Attack {
    outside: Bench,
    target: Bench,
}

impl Attack {
    fn new() -> Self {
        let attack = Self { outside: Bench::new(), target: Bench::new() };
        std::fs::write(attack.outside.path("victim"), b"untouched").unwrap();
        std::fs::create_dir(attack.outside.path("folder")).unwrap();
        std::fs::write(attack.outside.path("folder/inside"), b"untouched").unwrap();
        attack
    }

    /// Names, contents, modes and times outside.
    fn state(&self) -> String {
        let mut state = String::new();
        for name in ["", "victim", "folder", "folder/inside"] {
            let found = std::fs::symlink_metadata(self.outside.path(name)).unwrap();
            let content = std::fs::read(self.outside.path(name)).unwrap_or_default();
            state += &format!("{name} {:?} {:?} {content:?}\n", found.permissions(), found.modified().unwrap());
        }
        for entry in std::fs::read_dir(self.outside.path("")).unwrap() {
            state += &format!("{:?}\n", entry.unwrap().file_name());
        }
        for entry in std::fs::read_dir(self.outside.path("folder")).unwrap() {
            state += &format!("{:?}\n", entry.unwrap().file_name());
        }
        state
    }

    fn folders(&self) -> [Folder; 2] {
        [self.target.folder(), Destination::without_openat2(&self.target.path("")).root()]
    }
}

#[test]
fn no_hostile_name_reaches_the_file_system() {
    let attack = Attack::new();
    let before = attack.state();
    std::fs::create_dir(attack.target.path("a")).unwrap();
    std::fs::write(attack.target.path("seed"), b"").unwrap();
    let names = hostile_names();
    assert!(names.len() >= 80);
    for folder in attack.folders() {
        for name in &names {
            for (way, result) in every_way(&folder, name).into_iter().enumerate() {
                assert!(matches!(result, Err(DestinationError::Name { .. })), "way {way} took {name:?}: {result:?}");
            }
        }
        assert_eq!(folder.names().unwrap().count(), 2);
    }
    assert_eq!(attack.state(), before);
}

#[test]
fn a_link_planted_at_the_name_is_replaced_not_followed() {
    let attack = Attack::new();
    let before = attack.state();
    for folder in attack.folders() {
        for aim in ["victim", "folder", "new"] {
            let plant = || {
                let _ = std::fs::remove_file(attack.target.path("f"));
                let _ = std::fs::remove_dir(attack.target.path("f"));
                symlink(attack.outside.path(aim), attack.target.path("f")).unwrap();
            };
            plant();
            assert!(folder.open_existing(b"f").unwrap().is_none());
            assert!(matches!(folder.open_read(b"f"), Err(DestinationError::NotAFile { .. })));
            let writer = folder.create_file(b"f").unwrap();
            writer.write_at(0, b"content").unwrap();
            writer.finish(&metadata(0o777)).unwrap();
            assert_eq!(std::fs::read(attack.target.path("f")).unwrap(), b"content");
            plant();
            folder.symlink(b"f", b"elsewhere", &metadata(0o777)).unwrap();
            plant();
            folder.special(b"f", Special::Fifo, &metadata(0o777)).unwrap();
            plant();
            folder.set_metadata(b"f", &metadata(0o777)).unwrap();
            folder.hard_link(&folder, b"f", b"g").unwrap();
            assert!(std::fs::symlink_metadata(attack.target.path("g")).unwrap().is_symlink());
            folder.remove_all(b"f").unwrap();
            folder.remove(b"g").unwrap();
        }
    }
    assert_eq!(attack.state(), before);
}

#[test]
fn a_link_planted_as_a_folder_is_refused_or_replaced() {
    let attack = Attack::new();
    let before = attack.state();
    for folder in attack.folders() {
        symlink(attack.outside.path("folder"), attack.target.path("d")).unwrap();
        assert!(matches!(folder.enter(b"d"), Err(DestinationError::NotADirectory { .. })));
        assert!(matches!(folder.make(b"d", Overwrite::Never), Err(DestinationError::InTheWay { .. })));
        assert!(matches!(folder.make_path(b"/d/x/"), Err(DestinationError::NotADirectory { .. })));
        let (made, existing) = folder.make(b"d", Overwrite::Always).unwrap();
        assert!(existing.is_some());
        made.create_file(b"inside").unwrap().finish(&metadata(0o777)).unwrap();
        assert_eq!(made.finish(&metadata(0o700)), []);
        assert!(!std::fs::symlink_metadata(attack.target.path("d")).unwrap().is_symlink());
        folder.remove_all(b"d").unwrap();
    }
    assert_eq!(attack.state(), before);
}

#[test]
fn a_folder_swapped_for_a_link_does_not_redirect_what_is_open() {
    let attack = Attack::new();
    let before = attack.state();
    for folder in attack.folders() {
        let (made, _) = folder.make(b"d", Overwrite::Always).unwrap();
        let writer = made.create_file(b"inside").unwrap();
        std::fs::rename(attack.target.path("d"), attack.target.path("moved")).unwrap();
        symlink(attack.outside.path("folder"), attack.target.path("d")).unwrap();
        writer.write_at(0, b"content").unwrap();
        writer.finish(&metadata(0o777)).unwrap();
        made.symlink(b"link", b"x", &metadata(0o777)).unwrap();
        made.remove_all(b"victim").unwrap();
        assert_eq!(made.finish(&metadata(0o755)), []);
        assert_eq!(std::fs::read(attack.target.path("moved/inside")).unwrap(), b"content");
        folder.remove_all(b"moved").unwrap();
        folder.remove_all(b"d").unwrap();
    }
    assert_eq!(attack.state(), before);
}

#[test]
fn a_hard_link_planted_to_the_outside_is_cut_not_written() {
    let attack = Attack::new();
    let before = attack.state();
    for folder in attack.folders() {
        std::fs::hard_link(attack.outside.path("victim"), attack.target.path("f")).unwrap();
        assert!(folder.open_existing(b"f").unwrap().is_none());
        assert!(matches!(folder.set_metadata(b"f", &metadata(0o777)), Err(DestinationError::HardLinked { .. })));
        let writer = folder.create_file(b"f").unwrap();
        writer.write_at(0, b"content").unwrap();
        writer.finish(&metadata(0o777)).unwrap();
        folder.remove(b"f").unwrap();
    }
    assert_eq!(attack.state(), before);
}

#[test]
fn links_swapped_in_all_the_time_never_lead_outside() {
    let attack = Attack::new();
    let before = attack.state();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (name, spare) = (attack.target.path("d"), attack.target.path("spare"));
                let _ = std::fs::rename(&name, &spare);
                let _ = symlink(attack.outside.path("folder"), &name);
                let _ = std::fs::remove_file(&name);
                let _ = std::fs::rename(&spare, &name);
            }
        });
        for folder in attack.folders() {
            for _ in 0..200 {
                if let Ok((made, _)) = folder.make(b"d", Overwrite::Always) {
                    if let Ok(writer) = made.create_file(b"inside") {
                        let _ = writer.write_at(0, b"content");
                        let _ = writer.finish(&metadata(0o777));
                    }
                    let _ = made.make(b"below", Overwrite::Always);
                    let _ = made.finish(&metadata(0o755));
                }
                let _ = folder.remove_all(b"d");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(attack.state(), before);
}

#[test]
fn a_name_that_is_merely_odd_is_restored() {
    let attack = Attack::new();
    let names: [&[u8]; 8] = [b"...", b"-rf", b"a\\..\\b", b"c:\\x", b"new\nline", b"\xff\xfe", b" ", &[b'x'; 255]];
    for folder in attack.folders() {
        for name in names {
            folder.create_file(name).unwrap().finish(&metadata(0o600)).unwrap();
            assert!(folder.existing(name).unwrap().is_some());
            folder.remove(name).unwrap();
        }
    }
}

#[test]
fn a_destination_can_be_used_from_many_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Destination>();
    shareable::<Folder>();
    shareable::<super::FileWriter>();
}
