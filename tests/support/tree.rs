//! Small trees, and a comparer that shares no code with `bk`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes that do not compress and are the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Sets the time of last change, in seconds since 1970.
pub fn set_mtime(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn file(path: &Path, bytes: &[u8], mode: u32, mtime: u64) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mtime(path, mtime);
}

/// A dozen entries: texts, noise of several chunks, an empty file, a hard link, symbolic links, an empty folder.
pub fn small_tree(dir: &Path) {
    fs::create_dir_all(dir.join("docs/deep/er")).unwrap();
    fs::create_dir_all(dir.join("empty")).unwrap();
    file(&dir.join("a.txt"), b"some text\n", 0o644, 1_500_000_000);
    file(&dir.join("empty.bin"), b"", 0o600, 1_500_000_001);
    file(&dir.join("noise.bin"), &noise(1, 150_000), 0o640, 1_500_000_002);
    file(&dir.join("docs/repeats.txt"), &b"again and again ".repeat(5000), 0o644, 1_500_000_003);
    file(&dir.join("docs/copy-of-noise.bin"), &noise(1, 150_000), 0o444, 1_500_000_004);
    file(&dir.join("docs/deep/script.sh"), b"#!/bin/sh\nexit 0\n", 0o755, 1_500_000_005);
    file(&dir.join("docs/deep/er/last"), &noise(2, 3000), 0o600, 1_500_000_006);
    fs::hard_link(dir.join("a.txt"), dir.join("docs/linked.txt")).unwrap();
    symlink("../a.txt", dir.join("docs/link")).unwrap();
    symlink("/nowhere/at all", dir.join("dangling")).unwrap();
    for (at, folder) in ["docs/deep/er", "docs/deep", "docs", "empty", "."].iter().enumerate() {
        set_mtime(&dir.join(folder), 1_400_000_000 + at as u64);
    }
}

/// Changes a [`small_tree`] into the version after `version`: some is new, some changed, most the same.
pub fn change_tree(dir: &Path, version: u64) {
    file(&dir.join(format!("new-{version}.bin")), &noise(100 + version, 60_000), 0o644, 1_600_000_000 + version);
    file(&dir.join("docs/deep/er/last"), &noise(200 + version, 3000), 0o600, 1_600_000_100 + version);
    if version == 2 {
        fs::remove_file(dir.join("docs/repeats.txt")).unwrap();
        fs::remove_file(dir.join("new-1.bin")).unwrap();
        fs::create_dir(dir.join("third")).unwrap();
        file(&dir.join("third/one"), &b"one again ".repeat(900), 0o644, 1_600_000_200);
        set_mtime(&dir.join("third"), 1_600_000_201);
    }
    for folder in ["docs/deep/er", "docs", "."] {
        set_mtime(&dir.join(folder), 1_600_000_300 + version);
    }
}

/// An equal tree at `to`, made by `cp -a`.
pub fn copy_tree(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp -a failed");
}

fn describe(root: &Path, path: &Path, links: &mut BTreeMap<u64, PathBuf>) -> String {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let name = path.strip_prefix(root).unwrap();
    let mut text = format!("mode {:o} owner {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
    if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        return format!("{text} target {:?}", target.as_os_str().as_bytes());
    }
    text += &format!(" mtime {}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    if kind.is_file() {
        let hash = blake3::hash(&fs::read(path).unwrap());
        text += &format!(" size {} hash {hash}", metadata.size());
        if metadata.nlink() > 1 {
            let first = links.entry(metadata.ino()).or_insert_with(|| name.to_owned());
            text += &format!(" same as {}", first.display());
        }
    }
    text
}

fn entries(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut links = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        found.insert(folder.strip_prefix(root).unwrap().to_owned(), describe(root, &folder, &mut links));
        let mut below: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        below.sort();
        for path in below {
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), describe(root, &path, &mut links));
            }
        }
    }
    found
}

/// What differs between two trees, one line an entry; empty when they are equal.
pub fn compare_trees(a: &Path, b: &Path) -> Vec<String> {
    let (a, b) = (entries(a), entries(b));
    let mut differences = Vec::new();
    for (path, left) in &a {
        match b.get(path) {
            None => differences.push(format!("only in the first: {}", path.display())),
            Some(right) if left != right => {
                differences.push(format!("{}:\n  {left}\n  {right}", path.display()));
            }
            Some(_) => {}
        }
    }
    differences.extend(
        b.keys().filter(|path| !a.contains_key(*path)).map(|path| format!("only in the second: {}", path.display())),
    );
    differences
}
