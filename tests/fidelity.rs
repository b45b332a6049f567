//! What is restored is what was backed up, content and metadata, as an independent comparer sees it (R3, R21, R22).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "support/trees.rs"]
mod trees;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use trees::{Bench, Mounted, NOBODY, Said, clean, is_root, noise, restored, same, skipped, torture};

/// A bench whose source and copy lie below `place`.
fn the_torture_tree_comes_back(bench: &Bench, place: &Path, arguments: &[&str]) {
    let source = place.join("source");
    torture(bench, &source, arguments);
    if arguments.contains(&"--user") {
        // Folders that their owner may list but not enter: what is in them can be neither backed up nor compared.
        for mode in [0o400, 0o444, 0o600] {
            let path = source.join(format!("modes/dir-{mode:04o}"));
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode | 0o100)).unwrap();
        }
    }
    bench.backs_up(&[&source]);
    let copy = restore_to(bench, &place.join("copy"), &source, &["--verify"]);
    same(bench, &source, &copy);
    clean(&source);
    clean(&place.join("copy"));
}

fn restore_to(bench: &Bench, to: &Path, source: &Path, flags: &[&str]) -> std::path::PathBuf {
    let words = [OsStr::new("restore"), OsStr::new("latest"), OsStr::new("--to"), to.as_os_str()];
    bench.run(words.into_iter().chain(flags.iter().map(OsStr::new))).exits(0);
    restored(to, source)
}

fn as_whom() -> &'static str {
    if is_root() { "--root" } else { "--user" }
}

#[test]
fn the_torture_tree_comes_back_on_the_file_system_of_temporary_files() {
    let bench = Bench::new();
    the_torture_tree_comes_back(&bench, &bench.folder("place"), &[as_whom(), "--small"]);
}

#[test]
fn the_torture_tree_of_a_user_without_power_comes_back() {
    if !is_root() {
        return skipped("the torture tree of another user", "only root can become one");
    }
    let bench = Bench::of_user(NOBODY);
    the_torture_tree_comes_back(&bench, &bench.path(""), &["--user", "--small"]);
}

#[test]
fn the_torture_tree_comes_back_on_tmpfs() {
    let bench = Bench::new();
    let mounted = match Mounted::tmpfs(bench.path("mounted")) {
        Ok(mounted) => mounted,
        Err(why) => return skipped("the torture tree on tmpfs", why),
    };
    the_torture_tree_comes_back(&bench, mounted.point(), &["--root", "--small"]);
}

#[test]
fn the_torture_tree_comes_back_on_btrfs() {
    let bench = Bench::new();
    let mounted = match Mounted::looped(&bench, &["mkfs.btrfs", "-q"], 2 << 30) {
        Ok(mounted) => mounted,
        Err(why) => return skipped("the torture tree on btrfs", why),
    };
    the_torture_tree_comes_back(&bench, mounted.point(), &["--root", "--small"]);
}

/// Spoils a restored tree in all the ways a user or a dying program would.
fn spoil(copy: &Path) {
    let change = |name: &str, act: &dyn Fn(&Path)| act(&copy.join(name));
    change("sizes/4096.noise", &|path| std::fs::write(path, b"shorter").unwrap());
    change("sizes/524288.noise", &|path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[300_000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    });
    change("sizes/65536.prose", &|path| std::fs::write(path, noise(1, 900_000)).unwrap());
    change("sizes/1.noise", &|path| std::fs::remove_file(path).unwrap());
    change("sparse/hole-at-start", &|path| std::fs::write(path, noise(2, 70_000_000)).unwrap());
    change("empty/d", &|path| {
        std::fs::remove_dir(path).unwrap();
        std::os::unix::fs::symlink("/etc", path).unwrap();
    });
    change("empty/file1", &|path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("in the way"), b"x").unwrap();
    });
    change("symlinks/up", &|path| {
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("elsewhere", path).unwrap();
    });
    change("links/crowd", &|path| {
        // Its other names keep the old inode.
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, b"alone").unwrap();
    });
    change("same/0", &|path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o7777)).unwrap());
    change("same/1", &|path| {
        std::fs::remove_file(path).unwrap();
        std::fs::hard_link(copy.join("same/2"), path).unwrap();
    });
    change("xattr/plain", &|path| {
        rustix::fs::setxattr(path, "user.more", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        rustix::fs::removexattr(path, "user.comment").unwrap();
    });
    change("times/epoch", &|path| trees::set_mtime(path, 77, 7));
}

#[test]
fn a_second_restore_over_the_first_or_over_a_spoiled_one_ends_the_same() {
    let bench = Bench::new();
    let source = bench.path("source");
    torture(&bench, &source, &[as_whom(), "--small"]);
    bench.backs_up(&[&source]);
    let to = bench.path("copy");
    let copy = restore_to(&bench, &to, &source, &[]);
    let words = [OsStr::new("--json"), OsStr::new("restore"), OsStr::new("latest"), OsStr::new("--to"), to.as_os_str()];
    let again = bench.run(words).exits(0).json();
    same(&bench, &source, &copy);
    // Contents of files with several names are written anew; all others stay.
    assert!(again["bytes_written"].as_u64().unwrap() * 10 < again["bytes_kept"].as_u64().unwrap(), "{again}");
    spoil(&copy);
    restore_to(&bench, &to, &source, &["--verify"]);
    same(&bench, &source, &copy);
}

#[test]
fn delete_takes_away_what_the_snapshot_does_not_have_and_nothing_else() {
    let bench = Bench::new();
    let source = bench.folder("source/below");
    bench.file("source/below/kept", b"kept");
    bench.file("source/other/kept", b"kept");
    let source = source.parent().unwrap();
    bench.backs_up(&[source]);
    let to = bench.path("copy");
    let copy = restore_to(&bench, &to, source, &[]);
    let add = || {
        for name in ["more", "below/more", "below/folder/deep/more", "-rf", "new folder/x"] {
            let path = copy.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"too much").unwrap();
        }
        std::os::unix::fs::symlink(bench.path("source"), copy.join("link")).unwrap();
    };
    add();
    std::fs::write(to.join("beside"), b"stays").unwrap();
    restore_to(&bench, &to, source, &[]);
    assert!(copy.join("below/folder/deep/more").exists(), "nothing goes without --delete");
    restore_to(&bench, &to, source, &["--delete"]);
    same(&bench, source, &copy);
    assert!(to.join("beside").exists() && bench.path("source/below/kept").exists());
    // What leads to the restored folder is not restored itself, so its other entries stay.
    let above = copy.parent().unwrap().join("stays too");
    std::fs::write(&above, b"stays").unwrap();
    restore_to(&bench, &to, source, &["--delete"]);
    assert!(above.exists());
}

/// Entries of the large directory; a million takes minutes.
fn many() -> usize {
    if std::env::var_os("BK_TORTURE").is_some() { 1_000_000 } else { 20_000 }
}

#[test]
fn a_directory_of_very_many_entries_comes_back() {
    let bench = Bench::new();
    let source = bench.path("source/many");
    std::fs::create_dir_all(&source).unwrap();
    for number in 0..many() {
        let name = format!("{:08x}-{number}", number.wrapping_mul(2_654_435_761) % (1 << 32));
        std::fs::write(source.join(name), if number % 100 == 0 { &b"some"[..] } else { b"" }).unwrap();
    }
    let timed = |arguments: &[&OsStr]| {
        let (said, measured) = bench.measured(arguments);
        said.exits(0);
        eprintln!("{} entries, {:?}: {measured}", many(), arguments[0]);
        assert!(measured.peak_bytes < 256 << 20 || many() > 20_000, "{measured}");
    };
    timed(&[OsStr::new("backup"), source.as_os_str()]);
    timed(&[OsStr::new("backup"), source.as_os_str()]);
    let to = bench.path("copy");
    timed(&[OsStr::new("restore"), OsStr::new("latest"), OsStr::new("--to"), to.as_os_str()]);
    same(&bench, &source, &restored(&to, &source));
    // One entry in the middle goes, one comes: a parent of several tree blobs is walked beside the source.
    std::fs::remove_file(std::fs::read_dir(&source).unwrap().nth(many() / 2).unwrap().unwrap().path()).unwrap();
    std::fs::write(source.join("7fffffff-new"), b"new").unwrap();
    let said = bench.run([OsStr::new("--json"), OsStr::new("backup"), source.as_os_str()]).exits(0).json();
    assert!(said["files_new"] == 1 && said["files_changed"].as_u64().unwrap() < 20_000, "{said}");
    restore_to(&bench, &to, &source, &["--delete"]);
    same(&bench, &source, &restored(&to, &source));
}

#[test]
fn a_path_far_longer_than_the_kernel_takes_comes_back() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let script = r#"
import os
here = os.open(".", os.O_RDONLY)
for level in range(2000):
    os.mkdir("folder-%04d" % level, dir_fd=here)
    below = os.open("folder-%04d" % level, os.O_RDONLY, dir_fd=here)
    os.close(here)
    here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
"#;
    Said::by(bench.command("python3").args(["-c", script]).current_dir(&source)).exits(0);
    bench.backs_up(&[&source]);
    let copy = restore_to(&bench, &bench.path("copy"), &source, &["--verify"]);
    same(&bench, &source, &copy);
    // And again over itself, and with everything to be deleted.
    restore_to(&bench, &bench.path("copy"), &source, &["--delete", "--verify"]);
    same(&bench, &source, &copy);
}

#[test]
fn what_lies_on_this_machine_comes_back() {
    let source = std::env::var_os("BK_TORTURE").map_or_else(|| Path::new("/usr/share/doc"), |_| Path::new("/usr"));
    if !source.is_dir() {
        return skipped("a real tree", "there is none");
    }
    let bench = Bench::new();
    let code = bench.run([OsStr::new("backup"), source.as_os_str()]).status.code();
    // Only what an ordinary user may not read is an excuse.
    if code == Some(3) && !is_root() {
        return skipped("a real tree", format!("it cannot be read whole here (exit {code:?})"));
    }
    assert_eq!(code, Some(0));
    let copy = restore_to(&bench, &bench.path("copy"), source, &["--verify"]);
    same(&bench, source, &copy);
}
