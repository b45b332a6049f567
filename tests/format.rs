//! What was written once can be read for ever: golden repositories, golden cuts, and the reader in another language.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bk::chunk::{Chunker, Class};
use bk::crypto::{Identifier, Secret};

fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    assert!(!all.is_empty(), "there is no golden repository");
    all
}

fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn bk(golden: &Path, credential: [&str; 2]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    command.arg("--repo").arg(golden.join("repository")).arg(credential[0]).arg(golden.join(credential[1]));
    command
}

/// The Python that has what the reader needs; `tests/run` makes it.
fn reader(golden: &Path) -> Command {
    let python = std::env::var_os("BK_READER_PYTHON").expect("run the tests by tests/run, which prepares the reader");
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader/bk_reader.py"));
    command.arg(golden.join("repository")).arg("--key-file").arg(golden.join("key"));
    command
}

/// A line for each entry, as `tests/support/golden.sh` wrote them.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let info = std::fs::symlink_metadata(&path).unwrap();
        let kind = info.file_type();
        let (letter, what) = if kind.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ('d', "-".to_owned())
        } else if kind.is_symlink() {
            ('l', std::fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
        } else if kind.is_file() {
            ('-', sha256(&path))
        } else {
            ('p', "-".to_owned())
        };
        let size = if letter == '-' { info.len() } else { 0 };
        let mode = if letter == 'l' { "-".into() } else { format!("0o{:o}", info.permissions().mode() & 0o7777) };
        let time = i128::from(info.mtime()) * 1_000_000_000 + i128::from(info.mtime_nsec());
        let below = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        lines.push(format!("{letter} {mode} {size} {time} {what} {}", python_bytes(below)));
    }
    lines.sort();
    lines
}

fn sha256(path: &Path) -> String {
    if path.file_name().is_some_and(|name| name == "pages.db") {
        // The online backup of SQLite changes a counter in the header.
        return "database".into();
    }
    let output = succeed({
        let mut command = Command::new("sha256sum");
        command.stdin(std::fs::File::open(path).unwrap());
        command
    });
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Bytes as Python writes them.
fn python_bytes(bytes: &[u8]) -> String {
    let bytes = if bytes.is_empty() { b"." } else { bytes };
    let text = bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'\n' => text.push_str("\\n"),
            0x20..=0x7e => text.push(char::from(*byte)),
            byte => write!(text, "\\x{byte:02x}").unwrap(),
        }
        text
    });
    format!("b'{text}'")
}

fn expected(golden: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(golden.join("expected.txt")).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The folder that was backed up, somewhere below `target`.
fn find_source(target: &Path) -> PathBuf {
    let mut path = target.to_owned();
    while !path.ends_with("source") || path.join("tmp").exists() {
        let mut below = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        path = below.next().unwrap();
        assert!(below.next().is_none(), "{} holds more than one entry", path.display());
    }
    path
}

#[test]
fn every_golden_repository_restores_with_its_key_and_with_its_password() {
    for golden in golden() {
        for credential in [["--key-file", "key"], ["--password-file", "password"]] {
            let target = tempfile::tempdir().unwrap();
            let mut command = bk(&golden, credential);
            command.args(["restore", "latest", "--owner", "keep", "--verify", "--to"]).arg(target.path());
            succeed(command);
            assert_eq!(describe(&find_source(target.path())), expected(&golden), "{}", golden.display());
        }
    }
}

#[test]
fn every_golden_repository_is_whole() {
    for golden in golden() {
        let mut command = bk(&golden, ["--key-file", "key"]);
        command.args(["check", "--read-data"]);
        succeed(command);
    }
}

#[test]
fn the_reader_in_another_language_restores_every_golden_repository() {
    for golden in golden() {
        for index in [&["--no-index"][..], &[]] {
            let target = tempfile::tempdir().unwrap();
            let mut check = reader(&golden);
            check.args(index).arg("check");
            succeed(check);
            let mut restore = reader(&golden);
            restore.args(index).args(["restore", "latest"]).arg(target.path());
            succeed(restore);
            assert_eq!(describe(&find_source(target.path())), expected(&golden), "{}", golden.display());
        }
    }
}

#[test]
fn the_reader_in_another_language_reads_what_this_version_writes_and_finds_damage_in_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("v/source")).unwrap();
    std::fs::write(folder.path().join("v/source/file"), b"content ".repeat(100_000)).unwrap();
    let mut backup = Command::new(env!("CARGO_BIN_EXE_bk"));
    backup.env("BK_DATA_DIR", folder.path()).arg("backup").arg(folder.path().join("v/source"));
    succeed(backup);
    let mut check = reader(folder.path());
    check.arg("check");
    succeed(check);
    let packs = folder.path().join("repository/packs");
    let pack = std::fs::read_dir(packs).unwrap().flat_map(|xx| std::fs::read_dir(xx.unwrap().path()).unwrap()).next();
    let pack = pack.unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let mut check = reader(folder.path());
    check.arg("check");
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that look like noise and are the same for ever.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"golden cuts").finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn cuts_are_where_they_have_always_been() {
    let data = noise(16 << 20);
    let chunker = Chunker::new(&Secret::new([0x42; 32]));
    let cuts = |class: Class, count: usize| {
        let (mut at, mut cuts) = (0, Vec::new());
        while at < data.len() && cuts.len() < count {
            at += chunker.cut(class, &data[at..data.len().min(at + class.max_len())]);
            cuts.push(at);
        }
        cuts
    };
    let golden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cuts.txt")).unwrap();
    let mut now = String::new();
    for (name, class) in [("coarse", Class::Coarse), ("fine", Class::Fine)] {
        writeln!(now, "{name} {:?}", cuts(class, 12)).unwrap();
    }
    assert_eq!(now, golden, "another cut rule ends deduplication with every repository there is");
}

#[test]
fn identifiers_are_what_they_have_always_been() {
    let identifier = Identifier::new(&Secret::new([0x42; 32]));
    assert_eq!(identifier.data(b"content").to_string(), keyed("content", &[0x42; 32]));
    let tree_key = blake3::Hasher::new_derive_key("bk v1 tree id").update(&[0x42; 32]).finalize();
    assert_eq!(identifier.tree(b"content").to_string(), keyed("content", tree_key.as_bytes()));
}

fn keyed(content: &str, key: &[u8; 32]) -> String {
    blake3::keyed_hash(key, content.as_bytes()).to_hex().to_string()
}
