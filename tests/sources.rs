//! What changes is noticed, what was not read is said, and nothing is kept that was not asked for (R6, R19, R20).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "support/trees.rs"]
mod trees;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bk::clock::{Clock as _, SystemClock};
use bk::crypto::{KeyFile, Keys};
use bk::format::key_slot::Credential;
use bk::operation::backup::{BackupOptions, Origin, SourceRules, backup};
use bk::progress::Progress;
use bk::repository::{Repository, note};
use bk::store::LocalStore;
use trees::{Bench, Mounted, NOBODY, Said, difference, is_root, look, meanwhile, noise, restored, set_mtime, skipped};

const MIB: usize = 1 << 20;

fn words<'a>(words: &[&'a str], paths: &[&'a Path]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).chain(paths.iter().map(|path| path.as_os_str())).collect()
}

fn back_up(bench: &Bench, flags: &[&str], paths: &[&Path]) -> Said {
    bench.run(words(&[&["--json", "backup"], flags].concat(), paths))
}

/// The kinds of problems that a run named, with the ends of their paths.
fn problems(said: &Said) -> Vec<(String, String)> {
    let all = said.json()["problems"].clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    all.as_array().unwrap().iter().map(|one| (text(&one["kind"]), text(&one["path"]))).collect()
}

#[track_caller]
fn names_problem(said: &Said, kind: &str, end: &str) {
    let all = problems(said);
    assert!(all.iter().any(|(found, path)| found == kind && path.ends_with(end)), "no {kind} of {end}: {all:?}");
}

// Files that change meanwhile.

#[test]
fn a_file_that_is_written_all_the_time_is_said_to_be_torn() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let path = bench.file("source/busy", noise(1, 24 * MIB));
    bench.file("source/calm", b"calm");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut count = 0_u64;
    let write = || {
        count += 1;
        file.write_all_at(&count.to_le_bytes(), (count * 4096) % (24 << 20)).unwrap();
    };
    let said = meanwhile(write, || back_up(&bench, &[], &[&source])).exits(3);
    names_problem(&said, "changed", "source/busy");
    assert_eq!(problems(&said).len(), 1);
    assert_eq!(said.json()["outcome"], "incomplete");
    // What was read is kept all the same, and everything else is whole.
    let copy = bench.restores("latest", "copy", &source);
    assert_eq!(std::fs::metadata(copy.join("busy")).unwrap().len(), 24 << 20);
    assert_eq!(std::fs::read(copy.join("calm")).unwrap(), b"calm");
    // Once it is left alone, it is read again and whole.
    back_up(&bench, &[], &[&source]).exits(0);
    let copy = bench.restores("latest", "copy", &source);
    assert_eq!(difference(&look(&source), &look(&copy)), None);
}

#[test]
fn a_file_that_grows_is_kept_as_a_prefix_and_named() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let path = bench.file("source/log", noise(7, 12 * MIB));
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let grow = || {
        file.write_all(b"another line\n").unwrap();
        std::thread::sleep(std::time::Duration::from_micros(200));
    };
    let said = meanwhile(grow, || back_up(&bench, &[], &[&source])).exits(3);
    names_problem(&said, "changed", "source/log");
    let copy = bench.restores("latest", "copy", &source);
    let (now, then) = (std::fs::read(&path).unwrap(), std::fs::read(copy.join("log")).unwrap());
    assert!(then.len() >= 12 * MIB && now.starts_with(&then), "{} of {}", then.len(), now.len());
}

#[test]
fn a_file_that_is_replaced_is_one_of_its_versions_never_a_mixture() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let versions = [vec![b'a'; 6 * MIB], vec![b'b'; 6 * MIB + 1]];
    let path = bench.file("source/file", &versions[0]);
    let beside = bench.path("beside");
    let mut turn = 0;
    let replace = || {
        turn += 1;
        std::fs::write(&beside, &versions[turn % 2]).unwrap();
        std::fs::rename(&beside, &path).unwrap();
    };
    meanwhile(replace, || {
        for _ in 0..4 {
            let said = back_up(&bench, &[], &[&source]);
            let code = said.status.code();
            assert!(matches!(code, Some(0 | 3)), "{said:?}");
            let copy = bench.restores("latest", "copy", &source);
            let found = std::fs::read(copy.join("file")).unwrap();
            assert!(versions.contains(&found), "{} bytes, {code:?}", found.len());
        }
    });
}

#[test]
fn files_that_come_and_go_do_not_spoil_a_run() {
    let bench = Bench::new();
    let source = bench.folder("source");
    for number in 0..300 {
        bench.file(&format!("source/stays/{number:03}"), noise(number, 3000));
    }
    let folder = bench.folder("source/busy");
    let mut count = 0;
    let come_and_go = || {
        count += 1;
        let (file, below) = (folder.join(format!("file{}", count % 50)), folder.join(format!("folder{}", count % 7)));
        std::fs::write(&file, noise(count, 20_000)).unwrap();
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("inside"), b"x").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_dir_all(&below).unwrap();
    };
    meanwhile(come_and_go, || {
        for _ in 0..5 {
            let said = back_up(&bench, &[], &[&source]);
            assert!(matches!(said.status.code(), Some(0 | 3)), "{said:?}");
            assert!(problems(&said).iter().all(|(_, path)| path.contains("/busy")), "{said:?}");
        }
    });
    let copy = bench.restores("latest", "copy", &source);
    assert_eq!(difference(&look(&source.join("stays")), &look(&copy.join("stays"))), None);
}

#[test]
fn what_the_user_may_not_read_is_named_and_the_rest_is_kept() {
    if !is_root() {
        return skipped("files that cannot be read", "only root can give files away");
    }
    let bench = Bench::of_user(NOBODY);
    let source = bench.folder("source");
    for (name, mode) in [("open", 0o644), ("secret", 0o600)] {
        let path = bench.file(&format!("source/{name}"), b"content");
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    bench.file("source/locked/inside", b"content");
    std::fs::set_permissions(bench.path("source/locked"), PermissionsExt::from_mode(0o700)).unwrap();
    let said = back_up(&bench, &[], &[&source]).exits(3);
    names_problem(&said, "unreadable", "source/secret");
    names_problem(&said, "unreadable", "source/locked");
    assert_eq!(problems(&said).len(), 2, "{said:?}");
    let to = bench.path("copy");
    bench.run(words(&["restore", "latest", "--owner", "keep", "--to"], &[&to]));
    let copy = restored(&to, &source);
    assert!(copy.join("open").exists() && !copy.join("secret").exists());
}

// Changes between runs.

#[test]
fn an_edit_that_puts_the_time_back_is_noticed() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let path = bench.file("source/file", noise(1, 10_000));
    set_mtime(&path, 1_000_000_000, 5);
    bench.backs_up(&[&source]);
    // Old enough to be trusted, or every file would be read again anyway.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    back_up(&bench, &[], &[&source]).exits(0);
    assert_eq!(back_up(&bench, &[], &[&source]).json()["files_unmodified"], 1);
    std::fs::write(&path, noise(2, 10_000)).unwrap();
    set_mtime(&path, 1_000_000_000, 5);
    let said = back_up(&bench, &[], &[&source]).exits(0);
    assert_eq!(said.json()["files_changed"], 1);
    let copy = bench.restores("latest", "copy", &source);
    assert_eq!(difference(&look(&source), &look(&copy)), None);
}

#[test]
fn another_file_under_the_name_is_noticed_when_length_and_time_are_the_same() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let (path, beside) = (bench.file("source/file", noise(1, 10_000)), bench.file("source/other", noise(2, 10_000)));
    for path in [&path, &beside] {
        set_mtime(path, 1_000_000_000, 5);
    }
    bench.backs_up(&[&source]);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    bench.backs_up(&[&source]);
    std::fs::rename(&beside, &path).unwrap();
    bench.backs_up(&[&source]);
    let copy = bench.restores("latest", "copy", &source);
    assert_eq!(difference(&look(&source), &look(&copy)), None);
}

/// Edits a file in the moment after it was read, and puts its times back as far as one can.
struct Editor {
    path: PathBuf,
    content: Mutex<Vec<u8>>,
    reads: AtomicUsize,
}

impl Editor {
    fn edit(&self, number: u64) {
        let content = noise(number, 5000);
        std::fs::OpenOptions::new().write(true).open(&self.path).unwrap().write_all_at(&content, 0).unwrap();
        set_mtime(&self.path, 1_000_000_000, 0);
        *self.content.lock().unwrap() = content;
    }
}

impl Progress for Editor {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _items: u64, _bytes: u64) {}
    fn advance(&self, _items: u64, bytes: u64) {
        // The only file: it has been read, and its times looked at for the last time.
        if bytes == 5000 && self.reads.fetch_add(1, Ordering::Relaxed) == 0 {
            self.edit(u64::MAX);
        }
    }
    fn current(&self, _path: &[u8]) {}
    fn warn(&self, _message: &str) {}
    fn finish(&self) {}
}

#[test]
fn an_edit_in_the_tick_of_the_run_that_read_the_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let store = Arc::new(LocalStore::create(&folder.path().join("repository")).unwrap());
    let credential = Credential::KeyFile(KeyFile::generate().unwrap());
    let keys = Keys::generate().unwrap();
    let repository = Repository::create(store, keys, &credential, &note("test", SystemClock.wall(), "here")).unwrap();
    let options = BackupOptions {
        origin: Origin { host: "here".into(), user: "me".into(), profile: None },
        roots: vec![source.clone()],
        rules: SourceRules::default(),
        tags: Vec::new(),
        description: None,
        definition: String::new(),
        configuration: String::new(),
        scratch: folder.path().to_owned(),
        skip_if_unchanged: false,
        dry_run: false,
        ignore_parent: false,
        threads: 1,
        ..BackupOptions::default()
    };
    let editor = Editor { path: source.join("file"), content: Mutex::default(), reads: AtomicUsize::new(0) };
    std::fs::write(&editor.path, noise(0, 5000)).unwrap();
    let never = AtomicBool::new(false);
    let (mut same_tick, mut missed) = (0, 0);
    for round in 0..40 {
        let identifier = repository.keys().identifier();
        let run = || backup(&repository, &options, Vec::new(), &SystemClock, &editor, &never).unwrap();
        editor.edit(round);
        editor.reads.store(0, Ordering::Relaxed);
        let before = std::fs::metadata(&editor.path).unwrap();
        run();
        let after = std::fs::metadata(&editor.path).unwrap();
        same_tick += usize::from((before.ctime(), before.ctime_nsec()) == (after.ctime(), after.ctime_nsec()));
        let stats = run();
        // The blob of the last edit must be in the repository: asking the index is enough, restoring takes longer.
        let id = identifier.data(&editor.content.lock().unwrap());
        let index = bk::repository::Index::load(&repository, bk::repository::Purpose::Read, &SystemClock).unwrap();
        missed += usize::from(!index.knows(&id) || stats.statistics.unchanged_files > 0);
    }
    eprintln!("{same_tick} of 40 edits had the same times as the version before");
    assert_eq!(missed, 0);
}

// What is missing.

#[test]
fn a_root_that_is_missing_is_named_and_makes_the_snapshot_incomplete() {
    let bench = Bench::new();
    let (there, missing) = (bench.folder("there"), bench.path("missing"));
    bench.file("there/file", b"x");
    let said = back_up(&bench, &[], &[&there, &missing]).exits(3);
    names_problem(&said, "missing", "/missing");
    assert!(!said.json()["snapshot_id"].is_null());
    let said = bench.run(words(&["backup"], &[&missing])).exits(1);
    said.says("missing").says("hint:");
    let link = bench.path("dangling");
    symlink("/no/where", &link).unwrap();
    bench.run(words(&["backup"], &[&link])).exits(1).says("dangling");
}

#[test]
fn no_files_where_there_were_some_is_not_complete() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let file = bench.file("source/file", b"x");
    bench.backs_up(&[&source]);
    std::fs::remove_file(file).unwrap();
    let said = back_up(&bench, &[], &[&source]).exits(3);
    names_problem(&said, "missing", "/source");
    // Nor is it the night after: an empty folder does not become the measure.
    back_up(&bench, &[], &[&source]).exits(3);
    // `latest` is the complete one.
    let copy = bench.restores("latest", "copy", &source);
    assert!(copy.join("file").exists());
    // A folder that never had any is complete.
    back_up(&bench, &[], &[&bench.folder("empty")]).exits(0);
}

// What is left out.

/// The names below a restored copy, sorted, folders with a `/`.
fn names(copy: &Path) -> Vec<String> {
    let shown = |path: Vec<u8>, kind: &str| String::from_utf8(path).unwrap() + if kind == "folder" { "/" } else { "" };
    look(copy).into_iter().skip(1).map(|(path, seen)| shown(path, seen.kind)).collect()
}

/// Backs up the profile `wiki` as `profile` says, restores it, and gives the names of its only path.
#[track_caller]
fn kept(bench: &Bench, profile: &str) -> Vec<String> {
    let source = bench.path("source");
    let config = format!("[profile.wiki]\npaths = [\"{}\"]\n{profile}\n", source.display());
    std::fs::write(bench.path("bk.toml"), config).unwrap();
    bench.run(["backup", "wiki"]).exits(0);
    let to = bench.path("copy");
    trees::clean(&to);
    bench.run(words(&["restore", "wiki", "--to"], &[&to])).exits(0);
    names(&to.join("wiki").join(source.strip_prefix("/").unwrap()))
}

#[test]
fn patterns_are_anchored_at_the_root() {
    let bench = Bench::new();
    for name in ["cache/a", "cache/keep/b", "deep/cache/c", "x.tmp", "deep/x.tmp", "sessions"] {
        bench.file(&format!("source/{name}"), b"x");
    }
    let found = kept(&bench, "exclude = [\"cache/**\", \"*.tmp\", \"sessions/\", \"!cache/keep/**\"]");
    let expected =
        ["cache/", "cache/keep/", "cache/keep/b", "deep/", "deep/cache/", "deep/cache/c", "deep/x.tmp", "sessions"];
    assert_eq!(found, expected);
    let absolute = format!("exclude = [\"{}/deep\"]", bench.path("source").display());
    assert!(!kept(&bench, &absolute).iter().any(|name| name.starts_with("deep")));
    // And on the command line.
    let source = bench.path("source");
    back_up(&bench, &["--exclude", "**/*.tmp"], &[&source]).exits(0);
    let found = names(&bench.restores("latest", "other", &source));
    assert!(found.contains(&"cache/a".to_owned()) && !found.iter().any(|name| name.ends_with(".tmp")), "{found:?}");
    bench.run(words(&["backup", "--exclude", "a//b"], &[&source])).exits(2).says("a//b");
}

#[test]
fn an_include_list_keeps_nothing_else() {
    let bench = Bench::new();
    for name in ["server/cfg/a", "server/data/b", "c.ini", "deep/d.ini", "deep/other"] {
        bench.file(&format!("source/{name}"), b"x");
    }
    let found = kept(&bench, "include = [\"server/cfg\", \"**/*.ini\"]");
    assert_eq!(found, ["c.ini", "deep/", "deep/d.ini", "server/", "server/cfg/", "server/cfg/a"]);
}

#[test]
fn marked_folders_keep_only_their_marker() {
    let bench = Bench::new();
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n";
    for (name, content) in [
        ("cache/CACHEDIR.TAG", &tag[..]),
        ("cache/inside/a", b"x"),
        ("false/CACHEDIR.TAG", b"Signature: no"),
        ("false/b", b"x"),
        ("left/.nobackup", b""),
        ("left/c", b"x"),
        ("kept/d", b"x"),
    ] {
        bench.file(&format!("source/{name}"), content);
    }
    let found = kept(&bench, "exclude-caches = true\nexclude-if-present = [\".nobackup\"]");
    let expected = [
        "cache/",
        "cache/CACHEDIR.TAG",
        "false/",
        "false/CACHEDIR.TAG",
        "false/b",
        "kept/",
        "kept/d",
        "left/",
        "left/.nobackup",
    ];
    assert_eq!(found, expected);
    assert_eq!(kept(&bench, "").len(), 12, "nothing is left out unless it is asked for");
}

#[test]
fn files_over_the_limit_are_left_out() {
    let bench = Bench::new();
    bench.file("source/limit", vec![0; 1 << 20]);
    bench.file("source/over", vec![0; (1 << 20) + 1]);
    assert_eq!(kept(&bench, "exclude-larger-than = \"1MiB\""), ["limit"]);
}

#[test]
fn another_file_system_below_a_root_is_an_empty_folder_when_it_is_not_wanted() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let mounted = match Mounted::tmpfs(bench.path("source/mounted")) {
        Ok(mounted) => mounted,
        Err(why) => return skipped("a file system below a root", why),
    };
    bench.file("source/mounted/inside", b"x");
    bench.file("source/file", b"x");
    back_up(&bench, &["-x"], &[&source]).exits(0);
    assert_eq!(names(&bench.restores("latest", "without", &source)), ["file", "mounted/"]);
    back_up(&bench, &[], &[&source]).exits(0);
    assert_eq!(names(&bench.restores("latest", "with", &source)), ["file", "mounted/", "mounted/inside"]);
    // Without it mounted, what was in it is not there: no empty folder is taken for it silently.
    drop(mounted);
    back_up(&bench, &[], &[&source]).exits(0);
}

// What a root may be.

#[test]
fn several_roots_are_one_snapshot() {
    let bench = Bench::new();
    let (one, two, file) =
        (bench.folder("one"), bench.folder("other/two"), bench.file("other/single", b"a file alone"));
    bench.file("one/a", b"a");
    bench.file("other/two/b", b"b");
    let said = back_up(&bench, &[], &[&one, &two, &file, &one]).exits(0);
    assert_eq!(said.json()["total_files_processed"], 3);
    let to = bench.path("copy");
    bench.run(words(&["restore", "latest", "--to"], &[&to])).exits(0);
    let top = std::fs::read_dir(&to).unwrap().next().unwrap().unwrap().path();
    for path in [&one, &two, &file] {
        let copy = top.join(path.strip_prefix("/").unwrap());
        assert_eq!(difference(&look(path), &look(&copy)), None);
    }
    // One of them alone, by the path it came from.
    let alone = bench.path("alone");
    bench.run(words(&["restore", "latest", "--to"], &[&alone, &two])).exits(0);
    let top = std::fs::read_dir(&alone).unwrap().next().unwrap().unwrap().path();
    assert!(top.join(two.strip_prefix("/").unwrap()).join("b").exists());
    assert!(!top.join(one.strip_prefix("/").unwrap()).exists());
    bench.run(words(&["restore", "latest", "--to"], &[&alone, Path::new("/not/there")])).exits(2).says("/not/there");
}

#[test]
fn a_root_that_is_a_link_stands_for_what_it_points_to() {
    let bench = Bench::new();
    bench.file("real/inside", b"x");
    let file = bench.file("real/file", b"y");
    let (folder_link, file_link) = (bench.path("folder-link"), bench.path("file-link"));
    symlink("real", &folder_link).unwrap();
    symlink(&file, &file_link).unwrap();
    bench.backs_up(&[&folder_link]);
    assert_eq!(names(&bench.restores("latest", "copy", &folder_link)), ["file", "inside"]);
    bench.backs_up(&[&file_link]);
    assert_eq!(std::fs::read(bench.restores("latest", "copy2", &file_link)).unwrap(), b"y");
    // A link below a root is a link.
    bench.backs_up(&[&bench.path("real/..").join("real")]);
    let inside = bench.folder("links");
    symlink("../real", inside.join("to-real")).unwrap();
    bench.backs_up(&[&inside]);
    assert_eq!(look(&bench.restores("latest", "copy3", &inside))[&b"to-real"[..]].kind, "link");
}

#[test]
fn a_single_file_is_read_again_when_it_changes_and_not_lost_when_it_does_not() {
    let bench = Bench::new();
    let file = bench.file("notes", b"first");
    for content in [&b"first"[..], b"other"] {
        std::fs::write(&file, content).unwrap();
        bench.backs_up(&[&file]);
        bench.backs_up(&[&file]);
        let copy = bench.restores("latest", "copy", &file);
        assert_eq!(std::fs::read(copy).unwrap(), content);
    }
}

// Streams.

/// A backup of standard input.
fn with_input(bench: &Bench, name: &str, input: &[u8]) -> Said {
    let mut command = bench.bk();
    command.args(["backup", "--stdin", "--name", name]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn standard_input_is_a_file_of_the_snapshot() {
    let bench = Bench::new();
    for (name, input) in [("shop.sql", noise(1, 3 * MIB)), ("dumps/empty", Vec::new())] {
        with_input(&bench, name, &input).exits(0);
        let to = bench.path("copy");
        bench.run(words(&["restore", "latest", "--to"], &[&to])).exits(0);
        let top = name.rsplit('/').next().unwrap();
        assert_eq!(std::fs::read(to.join(top).join(name)).unwrap(), input, "{name}");
    }
    for name in ["../x", "a/../b", "", "."] {
        with_input(&bench, name, b"x").exits(2);
    }
    bench.run(["backup", "--stdin"]).exits(2);
}

#[test]
fn a_program_that_fails_leaves_no_snapshot() {
    let bench = Bench::new();
    let command = |argv: &[&str]| {
        bench.run([&["backup", "--name", "dump.sql", "--command", "--"], argv].concat().iter().map(OsStr::new))
    };
    for argv in [
        &["sh", "-c", "echo half; echo broken pipe dream >&2; exit 7"][..],
        &["sh", "-c", "echo half; kill -9 $$"],
        &["/no/such/program"],
    ] {
        command(argv).exits(4).says(argv[0].rsplit('/').next().unwrap());
        assert_ne!(bench.run(words(&["restore", "latest", "--to"], &[&bench.path("none")])).status.code(), Some(0));
    }
    command(&["sh", "-c", "echo half; echo last words >&2; exit 1"]).exits(4).says("last words");
    let said = command(&["sh", "-c", "echo whole; echo a remark >&2"]).exits(0);
    assert!(said.stderr.contains("a remark"));
    let to = bench.path("copy");
    bench.run(words(&["restore", "latest", "--to"], &[&to])).exits(0);
    assert_eq!(std::fs::read(to.join("dump.sql/dump.sql")).unwrap(), b"whole\n");
    // No shell reads the words.
    command(&["echo", "$(id)", ";", "a b"]).exits(0);
    bench.run(words(&["restore", "latest", "--to"], &[&to])).exits(0);
    assert_eq!(std::fs::read(to.join("dump.sql/dump.sql")).unwrap(), b"$(id) ; a b\n");
}

// Snapshots that are wanted only sometimes.

fn objects(bench: &Bench) -> Vec<Vec<u8>> {
    look(&bench.path("data/repository"))
        .into_iter()
        .filter(|(_, seen)| seen.kind == "file")
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn a_dry_run_stores_nothing() {
    let bench = Bench::new();
    let source = bench.folder("source");
    bench.file("source/a", noise(1, 2 * MIB));
    bench.backs_up(&[&source]);
    let before = objects(&bench);
    bench.file("source/b", noise(2, 40 * MIB));
    let said = back_up(&bench, &["--dry-run"], &[&source]).exits(0);
    assert_eq!(said.json()["files_new"], 1);
    assert!(said.json()["data_added"].as_u64().unwrap() >= 40 << 20 && said.json()["snapshot_id"].is_null());
    assert_eq!(objects(&bench), before);
    assert!(!bench.restores("latest", "copy", &source).join("b").exists());
    // Nor does a restore that is only tried.
    bench.run(words(&["restore", "latest", "--dry-run", "--to"], &[&bench.path("not made")])).exits(0).says("1 files");
    assert!(!bench.path("not made").exists());
}

#[test]
fn an_unchanged_source_makes_no_snapshot_when_that_is_asked_for() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let file = bench.file("source/a", b"x");
    let run = || back_up(&bench, &["--skip-if-unchanged"], &[&source]).exits(0).json()["snapshot_id"].is_null();
    assert!(!run(), "the first one is a change");
    assert!(run());
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(!run(), "a mode is a change");
    assert!(run());
    assert!(!back_up(&bench, &[], &[&source]).exits(0).json()["snapshot_id"].is_null());
}

#[test]
fn a_young_file_that_is_read_again_and_is_the_same_is_not_counted_as_changed() {
    let bench = Bench::new();
    let source = bench.folder("source");
    bench.file("source/same", b"x");
    let file = bench.file("source/other", b"x");
    back_up(&bench, &[], &[&source]).exits(0);
    std::fs::write(&file, b"y").unwrap();
    let json = back_up(&bench, &[], &[&source]).exits(0).json();
    assert_eq!(
        (&json["files_new"], &json["files_changed"], &json["files_unmodified"]),
        (&0.into(), &1.into(), &1.into())
    );
}

#[test]
fn tags_choose_snapshots() {
    let bench = Bench::new();
    let source = bench.folder("source");
    for (tag, content) in [("web", "1"), ("db", "2")] {
        bench.file("source/a", content);
        back_up(&bench, &["--tag", tag, "--tag", "all"], &[&source]).exits(0);
    }
    let to = bench.path("copy");
    for (tag, content) in [("web", "1"), ("db", "2"), ("all", "2")] {
        bench.run(words(&["restore", "latest", "--tag", tag, "--to"], &[&to])).exits(0);
        assert_eq!(std::fs::read_to_string(restored(&to, &source).join("a")).unwrap(), content);
    }
    assert_ne!(bench.run(words(&["restore", "latest", "--tag", "none", "--to"], &[&to])).status.code(), Some(0));
}

// Databases.

/// A database whose last rows are only in its log, held open.
fn live_database(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.execute_batch("create table notes (id integer primary key, text text)").unwrap();
    add_rows(&connection, 1000);
    connection
}

fn add_rows(connection: &rusqlite::Connection, count: usize) {
    let mut insert = connection.prepare_cached("insert into notes (text) values (?1)").unwrap();
    connection.execute_batch("begin").unwrap();
    for number in 0..count {
        insert.execute([format!("note {number} {}", "x".repeat(number % 300))]).unwrap();
    }
    connection.execute_batch("commit").unwrap();
}

fn rows(path: &Path) -> usize {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sound: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let count: i64 = connection.query_row("select count(*) from notes", [], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

#[test]
fn a_live_database_is_taken_whole_and_without_its_log() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let connection = live_database(&bench.path("source/app.db"));
    bench.file("source/other-wal", b"no log of any database");
    assert!(std::fs::metadata(bench.path("source/app.db-wal")).unwrap().len() > 0);
    back_up(&bench, &[], &[&source]).exits(0);
    let copy = bench.restores("latest", "copy", &source);
    assert_eq!(names(&copy), ["app.db", "other-wal"]);
    assert_eq!(rows(&copy.join("app.db")), 1000);
    // Rows that only the log tells of: the file itself looks untouched.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    back_up(&bench, &[], &[&source]).exits(0);
    add_rows(&connection, 234);
    back_up(&bench, &[], &[&source]).exits(0);
    let copy = bench.restores("latest", "copy2", &source);
    assert_eq!(rows(&copy.join("app.db")), 1234);
}

#[test]
fn a_database_that_is_written_meanwhile_is_whole_in_every_snapshot() {
    let bench = Bench::new();
    let source = bench.folder("source");
    let connection = live_database(&bench.path("source/app.db"));
    connection.pragma_update(None, "wal_autocheckpoint", 100).unwrap();
    let mut last = 0;
    meanwhile(
        // A connection is for one thread at a time.
        move || add_rows(&connection, 50),
        || {
            for round in 0..4 {
                let said = back_up(&bench, &[], &[&source]).exits(0);
                assert_eq!(problems(&said), [], "{said:?}");
                let copy = bench.restores("latest", &format!("copy{round}"), &source);
                assert_eq!(names(&copy), ["app.db"]);
                let now = rows(&copy.join("app.db"));
                assert!(now >= last && now.is_multiple_of(50), "{now} rows after {last}: half a transaction");
                last = now;
            }
        },
    );
}

#[test]
fn a_corrupt_database_is_named_and_kept_byte_by_byte() {
    let bench = Bench::new();
    let source = bench.folder("source");
    drop(live_database(&bench.path("source/app.db")));
    let path = bench.path("source/app.db");
    let mut bytes = std::fs::read(&path).unwrap();
    for page in 1..bytes.len() / 4096 {
        bytes[page * 4096..page * 4096 + 100].copy_from_slice(&noise(page as u64, 100));
    }
    std::fs::write(&path, &bytes).unwrap();
    bench.file("source/app.db-wal", b"a log that nobody understands");
    let said = back_up(&bench, &[], &[&source]).exits(3);
    names_problem(&said, "database", "source/app.db");
    let copy = bench.restores("latest", "copy", &source);
    // SQLite itself makes a file beside a database when it opens it, so the folder's time is another.
    for name in ["app.db", "app.db-wal"] {
        let (original, kept) = (std::fs::read(source.join(name)).unwrap(), std::fs::read(copy.join(name)).unwrap());
        assert!(original == kept, "{name} is not kept byte by byte; its log may be what saves it");
    }
}

#[test]
fn a_profile_may_take_databases_as_plain_files() {
    let bench = Bench::new();
    bench.folder("source");
    let connection = live_database(&bench.path("source/app.db"));
    assert_eq!(kept(&bench, "sqlite = false"), ["app.db", "app.db-shm", "app.db-wal"]);
    let copy = bench.path("copy/wiki").join(bench.path("source").strip_prefix("/").unwrap());
    for name in ["app.db", "app.db-wal"] {
        let original = std::fs::read(bench.path("source").join(name)).unwrap();
        assert_eq!(std::fs::read(copy.join(name)).unwrap(), original);
    }
    assert_eq!(kept(&bench, ""), ["app.db"]);
    drop(connection);
}
