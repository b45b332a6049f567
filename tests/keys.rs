//! Keys: repositories of a family open alike, nobody is locked out by a change that stops half-way, and secrets stay
//! where they were put.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot run fails")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bk::clock::{Clock, SystemClock};
use bk::crypto::{KeyFile, Keys};
use bk::format::key_slot::Credential;
use bk::format::node::Timestamp;
use bk::operation::key::change;
use bk::repository::{Repository, RepositoryError, add_slot, note, opened_by, remove_slot, seal_slot, slots};
use bk::store::{Area, Listed, LocalStore, ObjectName, Store, StoreError, Upload};

/// A machine of its own.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With a configuration of two repositories and a key file.
    fn with_siblings() -> Self {
        let machine = Self::new();
        let path = |name: &str| machine.path(name).display().to_string();
        let config = format!(
            "[family]\nkey-file = \"{}\"\n[repository.ssd]\nlocation = \"{}\"\n[repository.usb]\nlocation = \"{}\"\n",
            path("key"),
            path("ssd"),
            path("usb")
        );
        machine.write("bk.toml", &config);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.args(arguments).env_clear().current_dir(self.folder.path());
        command.env("HOME", self.folder.path()).env("BK_DATA_DIR", self.path("data"));
        if self.path("bk.toml").exists() {
            command.env("BK_CONFIG", self.path("bk.toml"));
        }
        command.stdin(std::process::Stdio::null()).output().unwrap()
    }

    /// Standard output of a run that must end with `exit`.
    fn expect(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "bk {arguments:?}\n{out}\n{err}");
        out.into_owned()
    }

    fn slots(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let arguments = [&["key", "list", "--json"], arguments].concat();
        serde_json::from_str::<Vec<serde_json::Value>>(&self.expect(0, &arguments)).unwrap()
    }
}

fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_without_configuration_makes_a_repository_and_a_key_that_only_its_owner_reads() {
    let machine = Machine::new();
    machine.expect(0, &["init"]);
    assert_eq!(mode(&machine.path("data")), 0o700);
    assert_eq!(mode(&machine.path("data/key")), 0o600);
    assert!(machine.expect(0, &["init"]).contains("there already"));
    assert!(machine.expect(0, &["check", "--read-data"]).contains("is whole"));
    assert_eq!(text(&machine.slots(&[])[0], "label"), "key file");
}

#[test]
fn init_makes_what_is_missing_as_siblings_with_the_same_slots() {
    let machine = Machine::with_siblings();
    machine.expect(0, &["init", "--repo", "ssd"]);
    machine.expect(0, &["key", "recovery-kit", "--repo", "ssd"]);
    let told = machine.expect(0, &["init"]);
    assert!(told.contains("ssd: there already") && told.contains("usb: made"), "{told}");
    let slots = machine.slots(&[]);
    assert_eq!(slots.len(), 4);
    let of = |repository: &str| {
        let slots = slots.iter().filter(|slot| text(slot, "repository") == repository);
        slots.map(|slot| text(slot, "id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("ssd"), of("usb"));
    let family = |name: &str| {
        let key = KeyFile::parse(&std::fs::read_to_string(machine.path("key")).unwrap()).unwrap();
        let store = Arc::new(LocalStore::open(&machine.path(name)).unwrap());
        let repository = Repository::open(store, &Credential::KeyFile(key)).unwrap();
        (repository.config().family, repository.config().repository)
    };
    assert_eq!(family("ssd").0, family("usb").0);
    assert_ne!(family("ssd").1, family("usb").1);
}

#[test]
fn init_makes_no_second_family_while_a_sibling_cannot_be_opened() {
    let machine = Machine::with_siblings();
    machine.expect(0, &["init", "--repo", "ssd"]);
    std::fs::rename(machine.path("key"), machine.path("key.old")).unwrap();
    machine.write("key", &KeyFile::generate().unwrap().text());
    machine.expect(12, &["init"]);
    assert!(!machine.path("usb").exists());
}

#[test]
fn init_refuses_a_folder_that_holds_anything_and_leaves_no_key() {
    let machine = Machine::with_siblings();
    std::fs::create_dir(machine.path("ssd")).unwrap();
    machine.write("ssd/photo.jpg", "x");
    machine.expect(2, &["init", "--repo", "ssd"]);
    assert!(!machine.path("key").exists());
    assert_eq!(std::fs::read_dir(machine.path("ssd")).unwrap().count(), 1);
}

#[test]
fn empty_passwords_are_refused_and_wrong_ones_have_their_exit_code() {
    let machine = Machine::new();
    let (empty, right) = (machine.write("empty", "\n"), machine.write("right", "correct horse\n"));
    let wrong = machine.write("wrong", "battery staple\n");
    machine.expect(2, &["init", "--repo", "./r", "--password-file", &empty]);
    assert!(!machine.path("r").exists());
    machine.expect(0, &["init", "--repo", "./r", "--password-file", &right]);
    machine.expect(12, &["check", "--repo", "./r", "--password-file", &wrong]);
    machine.expect(2, &["key", "add", "--repo", "./r", "--password-file", &right, "--new-password-file", &empty]);
    machine.expect(2, &["key", "add", "--repo", "./r", "--password-file", &right]);
    machine.expect(10, &["key", "list", "--repo", "./nothing", "--password-file", &right]);
    assert_eq!(machine.slots(&["--repo", "./r", "--password-file", &right]).len(), 1);
}

#[test]
fn a_key_that_was_added_opens_every_sibling_and_can_be_removed_again() {
    let machine = Machine::with_siblings();
    machine.expect(0, &["init"]);
    let second = machine.path("second").display().to_string();
    machine.expect(0, &["key", "add", "--new-key-file", &second, "--label", "laptop"]);
    assert_eq!(mode(Path::new(&second)), 0o600);
    let slots = machine.slots(&["--key-file", &second]);
    let laptops: Vec<_> = slots.iter().filter(|slot| text(slot, "label") == "laptop").collect();
    assert_eq!((slots.len(), laptops.len()), (4, 2));
    let id = &text(laptops[0], "id")[..8];
    assert_eq!(id, &text(laptops[1], "id")[..8]);
    machine.expect(2, &["key", "remove", id, "--repo", "ssd", "--key-file", &second]);
    machine.expect(0, &["key", "remove", id]);
    machine.expect(12, &["key", "list", "--key-file", &second]);
    let last = &text(&machine.slots(&[])[0], "id")[..8].to_owned();
    machine.expect(2, &["key", "remove", last, "--repo", "ssd"]);
    machine.expect(2, &["key", "remove", "ab"]);
    machine.expect(2, &["key", "remove", "abababababab", "--repo", "usb"]);
    assert_eq!(machine.slots(&[]).len(), 2);
}

#[test]
fn a_change_replaces_the_old_key_and_names_the_siblings_it_did_not_reach() {
    let machine = Machine::with_siblings();
    machine.expect(0, &["init"]);
    std::fs::rename(machine.path("usb"), machine.path("elsewhere")).unwrap();
    let (key, new) = (machine.path("key").display().to_string(), machine.path("new").display().to_string());
    machine.expect(2, &["key", "change", "--new-key-file", &key]);
    let output = machine.run(&["key", "change", "--new-key-file", &new]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{err}");
    assert!(err.contains("usb was not reached") && err.contains("master key"), "{err}");
    machine.expect(12, &["key", "list", "--repo", "ssd"]);
    assert_eq!(machine.slots(&["--repo", "ssd", "--key-file", &new]).len(), 1);
    machine.expect(0, &["key", "list", "--repo", "./elsewhere"]);
}

#[test]
fn the_key_typed_from_a_recovery_kit_opens_every_repository() {
    let machine = Machine::with_siblings();
    machine.expect(0, &["init"]);
    let page = machine.path("page").display().to_string();
    machine.expect(0, &["key", "recovery-kit", "--output", &page]);
    assert_eq!(mode(Path::new(&page)), 0o600);
    machine.expect(2, &["key", "recovery-kit", "--output", &page]);
    let page = std::fs::read_to_string(page).unwrap();
    let typed: Vec<_> = page.lines().skip_while(|line| !line.contains("bk-key-1-")).take(3).collect();
    let typed = machine.write("recovery.key", &typed.join("\n"));
    assert_eq!(machine.slots(&["--key-file", &typed]).len(), 4);
    for part in ["ssd", "usb", "restore latest --to", "WHAT THIS PAGE DOES NOT DO", "master key"] {
        assert!(page.contains(part), "{part}");
    }
    std::fs::remove_file(machine.path("key")).unwrap();
    machine.expect(0, &["check", "--repo", "ssd", "--key-file", &typed]);
}

#[test]
fn check_says_what_it_checked_and_exits_with_damage() {
    let machine = Machine::with_siblings();
    machine.expect(0, &["init"]);
    let output = machine.run(&["check"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--read-data"));
    machine.expect(0, &["check", "--read-data-subset", "1/7"]);
    machine.expect(2, &["check", "--read-data-subset", "8/7"]);
    machine.expect(0, &["key", "add", "--new-key-file", &machine.path("b").display().to_string()]);
    let slot = std::fs::read_dir(machine.path("usb/keys")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&slot).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&slot, bytes).unwrap();
    // Without any key, and for the sibling that is whole.
    std::fs::rename(machine.path("key"), machine.path("hidden")).unwrap();
    let told = machine.expect(5, &["check", "--no-key"]);
    assert!(told.contains(slot.file_name().unwrap().to_str().unwrap()), "{told}");
    machine.expect(0, &["check", "--no-key", "--repo", "ssd"]);
    std::fs::rename(machine.path("hidden"), machine.path("key")).unwrap();
    for key in ["key", "b"] {
        let key = machine.path(key).display().to_string();
        let output = machine.run(&["check", "--json", "--key-file", &key]);
        assert!(matches!(output.status.code(), Some(5 | 12)), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let errors: Vec<_> = lines.iter().filter(|line| text(line, "message_type") == "error").collect();
        assert_eq!((errors.len(), lines.len()), (1, 3), "{lines:?}");
        assert!(text(errors[0], "object").starts_with("keys/") && text(errors[0], "repository") == "usb");
    }
}

/// A store that fails from the n-th change on, before or after doing it.
struct StopAt {
    inner: LocalStore,
    left: AtomicI64,
    after: bool,
}

impl StopAt {
    fn change<T>(&self, name: &ObjectName, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let stopped = || StoreError::from_io("write", &name.to_string(), "here", std::io::Error::other("stopped"));
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            left if left > 0 => work(),
            0 if self.after => work().and_then(|_| Err(stopped())),
            _ => Err(stopped()),
        }
    }
}

impl Store for StopAt {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.change(name, || self.inner.get(name))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inner.get_range(name, offset, length, into)
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(name, || self.inner.put_new(name, bytes))
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        self.inner.begin()
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(area)
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        self.inner.stat(name)
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time()
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.change(name, || self.inner.delete(name))
    }
}

fn key() -> Credential {
    Credential::KeyFile(KeyFile::generate().unwrap())
}

/// A repository in `folder` that `credential` opens.
fn repository(folder: &Path, credential: &Credential) -> Repository {
    let store = Arc::new(LocalStore::create(folder).unwrap());
    let note = note("test", SystemClock.wall(), "host");
    Repository::create(store, Keys::generate().unwrap(), credential, &note).unwrap()
}

#[test]
fn a_change_stopped_at_any_step_leaves_a_slot_that_opens() {
    let mut completed = 0;
    for stop in 0..12 {
        for after in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("r");
            let (old, other, new) = (key(), key(), key());
            let whole = repository(&path, &old);
            let note = note("test", SystemClock.wall(), "host");
            // Two slots of the old key: both have to go, and neither too early.
            for credential in [&old, &other] {
                add_slot(whole.store(), whole.keys(), credential, &note).unwrap();
            }
            let slot = seal_slot(whole.keys(), &new, &note).unwrap();
            let inner = LocalStore::open(&path).unwrap();
            let store = Arc::new(StopAt { inner, left: AtomicI64::new(i64::MAX), after });
            let stopping = Repository::open(Arc::clone(&store) as Arc<dyn Store>, &old).unwrap();
            store.left.store(stop, Ordering::Relaxed);
            let result = change(&stopping, &old, &new, &slot);
            let opens = |credential| Repository::open(Arc::new(LocalStore::open(&path).unwrap()), credential).is_ok();
            assert!(opens(&old) || opens(&new), "stopped at {stop}");
            assert!(opens(&other), "another's slot was touched at {stop}");
            if let Ok(change) = result {
                completed += 1;
                assert!(opens(&new) && !opens(&old));
                assert_eq!(change.removed.len(), 2);
            }
        }
    }
    assert!(completed > 0);
}

#[test]
fn the_last_slot_that_can_be_read_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (key(), key());
    let repository = repository(&folder.path().join("r"), &first);
    let (store, keys) = (repository.store(), repository.keys());
    let added = add_slot(store, keys, &second, &note("second", SystemClock.wall(), "host")).unwrap();
    let damaged = folder.path().join("r").join(added.to_string());
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let all = slots(store, keys).unwrap();
    assert_eq!((all.sound.len(), all.damaged.len()), (1, 1));
    let [last] = opened_by(store, &first).unwrap()[..] else { unreachable!() };
    assert!(matches!(remove_slot(store, keys, &last.file_name()), Err(RepositoryError::LastSlot { .. })));
    remove_slot(store, keys, &added.file_name()).unwrap();
    assert!(matches!(remove_slot(store, keys, &last.file_name()), Err(RepositoryError::LastSlot { .. })));
    assert!(matches!(remove_slot(store, keys, ""), Err(RepositoryError::NoSuchSlot { .. })));
    assert!(matches!(remove_slot(store, keys, "zz"), Err(RepositoryError::NoSuchSlot { .. })));
}
