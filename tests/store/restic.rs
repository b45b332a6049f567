//! A repository in restic's format on every store: what restic made is read, and what is put there restic reads.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bk::store::location::{Format, Remote};
use bk::store::remote::{Credentials, RemoteStore, Settings};
use bk::store::{Area, LocalStore, Location, ObjectName, ResticArea, SftpStore, Store, StoreError};
use sha2::{Digest as _, Sha256};

use super::claims::{Names, fresh, range};
use super::rclone_server::{PASSWORD, RcloneServer, USER};
use super::s3_server::{BUCKET, KEY_ID, S3Server, SECRET};
use super::ssh_server::SshServer;

/// Runs restic with a repository in a folder, without traces elsewhere.
fn restic(repository: &Path, arguments: &[&str]) {
    let mut command = Command::new("restic");
    command.args(["--no-cache", "--quiet", "--repo"]).arg(repository).args(arguments).env("RESTIC_PASSWORD", "x");
    let output = command.output().expect("`tests/run` installs restic");
    assert!(output.status.success(), "restic {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A repository that restic made, with a snapshot in it.
fn made_by_restic(folder: &Path) -> LocalStore {
    let (path, files) = (folder.join("made"), folder.join("files"));
    std::fs::create_dir(&files).unwrap();
    for number in 0..3 {
        std::fs::write(files.join(number.to_string()), fresh(700_000)).unwrap();
    }
    restic(&path, &["init"]);
    restic(&path, &["backup", files.to_str().unwrap()]);
    LocalStore::open_restic(&path).unwrap()
}

fn names(store: &dyn Store, area: ResticArea) -> BTreeSet<ObjectName> {
    let listed = store.list(Area::Restic(area)).unwrap();
    let names: BTreeSet<_> = listed.iter().map(|listed| listed.name).collect();
    assert_eq!(names.len(), listed.len(), "each is listed once");
    names
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub fn remote(text: &str) -> Remote {
    match Location::parse_as(Format::Restic, text, Path::new("/")).unwrap() {
        Location::Remote(remote) => remote,
        Location::Local(_) => panic!("{text} is remote"),
    }
}

pub fn login() -> Option<Credentials> {
    Some(Credentials::new(USER.to_owned(), PASSWORD.to_owned(), None))
}

fn keys() -> Option<Credentials> {
    Some(Credentials::new(KEY_ID.to_owned(), SECRET.to_owned(), None))
}

/// Gives what restic made to a store that holds nothing, and takes it from there again.
fn what_restic_made_goes_there_and_comes_back(from: &dyn Store, to: &dyn Store) {
    for area in ResticArea::ALL {
        assert!(names(to, area).is_empty(), "{area:?}");
        for name in names(from, area) {
            to.put_new(&name, &from.get(&name).unwrap()).unwrap();
        }
        assert_eq!(names(to, area), names(from, area));
    }
    for area in [ResticArea::Data, ResticArea::Index, ResticArea::Snapshots] {
        assert!(!names(to, area).is_empty(), "{area:?}");
        for name in names(to, area) {
            assert_eq!(&hash(&to.get(&name).unwrap()), name.hash());
        }
    }
}

/// What every store promises of the areas of restic's format; it is one that was opened.
fn every_claim_of_restic_holds(store: &dyn Store, exclusive: Names) {
    for area in ResticArea::ALL.into_iter().filter(|area| *area != ResticArea::Config) {
        let absent = area.object(hash(&fresh(8)));
        assert!(store.get(&absent).unwrap_err().is_missing() && store.stat(&absent).unwrap().is_none());
        assert!(range(store, &absent, 0, 4).unwrap_err().is_missing());
        store.delete(&absent).unwrap();
        let before = names(store, area);
        let bytes = fresh(100_000);
        let name = area.object(hash(&bytes));
        let mut upload = store.begin().unwrap();
        upload.write(&bytes).unwrap();
        upload.finish(&name).unwrap();
        assert!(store.get(&name).unwrap() == bytes);
        assert_eq!(store.stat(&name).unwrap(), Some(100_000));
        for (offset, length) in [(0_usize, 1_usize), (0, 100_000), (1, 99_999), (99_999, 1), (4096, 8192), (5, 0)] {
            let part = range(store, &name, offset as u64, length as u64).unwrap();
            assert!(part == bytes[offset..offset + length], "{length} from {offset}");
        }
        for (offset, length) in [(0, 100_001), (99_999, 2), (100_000, 1), (200_000, 10)] {
            let error = range(store, &name, offset, length).unwrap_err();
            assert!(matches!(error, StoreError::Short { end, .. } if end == offset + length), "{offset}: {error}");
        }
        let listed = store.list(Area::Restic(area)).unwrap();
        let own: Vec<_> = listed.iter().filter(|listed| listed.name == name).collect();
        assert!(own.len() == 1 && own[0].size == 100_000, "{own:?}");
        assert!((own[0].time.seconds - store.time().unwrap().seconds).abs() < 60);
        match (store.put_new(&name, &bytes), exclusive) {
            (Err(StoreError::Exists { .. }), Names::Exclusive) | (Ok(()), Names::Repeatable) => {}
            (put, _) => panic!("{put:?}"),
        }
        assert!(store.get(&name).unwrap() == bytes);
        store.delete(&name).unwrap();
        store.delete(&name).unwrap();
        assert!(store.get(&name).unwrap_err().is_missing());
        assert_eq!(names(store, area), before);
    }
    let config = store.get(&ResticArea::CONFIG).unwrap();
    let listed = store.list(Area::Restic(ResticArea::Config)).unwrap();
    assert!(listed.len() == 1 && listed[0].size == config.len() as u64 && listed[0].name == ResticArea::CONFIG);
    many_threads_use_it_at_once(store);
    store.clean().unwrap();
}

fn many_threads_use_it_at_once(store: &dyn Store) {
    let put = |thread: usize| {
        for _ in 0..4 {
            let bytes = fresh(20_000 + thread);
            let name = ResticArea::Data.object(hash(&bytes));
            store.put_new(&name, &bytes).unwrap();
            assert!(store.get(&name).unwrap() == bytes && names(store, ResticArea::Data).contains(&name));
            store.delete(&name).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || put(thread))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Nothing looks empty that is not there any more.
fn what_is_away_is_an_error(store: &dyn Store) {
    for area in ResticArea::ALL {
        assert!(store.list(Area::Restic(area)).is_err(), "{area:?}");
    }
}

#[test]
fn a_folder_holds_what_restic_reads() {
    let folder = tempfile::tempdir().unwrap();
    let from = made_by_restic(folder.path());
    let path = folder.path().join("copy");
    what_restic_made_goes_there_and_comes_back(&from, &LocalStore::create_restic(&path).unwrap());
    restic(&path, &["check", "--read-data"]);
    let store = LocalStore::open_restic(&path).unwrap();
    every_claim_of_restic_holds(&store, Names::Exclusive);
    restic(&path, &["check", "--read-data"]);
    assert!(matches!(LocalStore::create_restic(&path), Err(StoreError::NotEmpty { .. })));
}

#[test]
fn a_folder_behind_ssh_holds_what_restic_reads() {
    let folder = tempfile::tempdir().unwrap();
    let from = made_by_restic(folder.path());
    let path = folder.path().join("there/copy");
    let mut server = SshServer::start();
    let settings = Settings { ssh_options: server.options(), ..Settings::default() };
    let place = remote(&server.location(&path));
    assert!(matches!(SftpStore::open_restic(&place, &settings), Err(StoreError::NoRepository { .. })));
    what_restic_made_goes_there_and_comes_back(&from, &SftpStore::create_restic(&place, &settings).unwrap());
    restic(&path, &["check", "--read-data"]);
    assert!(matches!(SftpStore::create_restic(&place, &settings), Err(StoreError::NotEmpty { .. })));
    // One that restic made has no folder for what is on its way, and a copy of it may lack others.
    for name in ["tmp", "locks"].map(str::to_owned).into_iter().chain(ResticArea::Data.folders()) {
        let _ = std::fs::remove_dir(path.join(name));
    }
    let store = SftpStore::open_restic(&place, &settings).unwrap();
    every_claim_of_restic_holds(&store, Names::Exclusive);
    restic(&path, &["check", "--read-data"]);
    std::fs::rename(folder.path().join("there"), folder.path().join("elsewhere")).unwrap();
    std::fs::create_dir_all(&path).unwrap();
    what_is_away_is_an_error(&store);
    assert!(store.put_new(&ResticArea::Locks.object([1; 32]), b"x").is_err());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is made there");
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(folder.path().join("elsewhere/copy"), &path).unwrap();
    server.be_read_only();
    let reader = SftpStore::open_restic(&place, &settings).unwrap();
    assert_eq!(names(&reader, ResticArea::Data), names(&from, ResticArea::Data));
}

#[test]
fn a_bucket_holds_what_restic_reads() {
    let folder = tempfile::tempdir().unwrap();
    let from = made_by_restic(folder.path());
    let server = S3Server::start();
    let place = remote(&format!("s3:{}/{BUCKET}/host1/r", server.endpoint()));
    let settings = Settings::default();
    let open = || RemoteStore::open_restic(&place, &settings, keys());
    assert!(matches!(open(), Err(StoreError::NoRepository { .. })));
    what_restic_made_goes_there_and_comes_back(&from, &RemoteStore::create_restic(&place, &settings, keys()).unwrap());
    restic(&server.object("host1/r"), &["check", "--read-data"]);
    let store = open().unwrap();
    every_claim_of_restic_holds(&store, Names::Repeatable);
    assert!(matches!(RemoteStore::create_restic(&place, &settings, keys()), Err(StoreError::NotEmpty { .. })));
    std::fs::remove_dir_all(server.object("host1")).unwrap();
    what_is_away_is_an_error(&store);
}

#[test]
fn a_folder_behind_webdav_holds_what_restic_reads() {
    let folder = tempfile::tempdir().unwrap();
    let from = made_by_restic(folder.path());
    let server = RcloneServer::webdav(folder.path());
    let place = remote(&format!("webdav://{}/copy", server.place));
    let settings = Settings::default();
    what_restic_made_goes_there_and_comes_back(&from, &RemoteStore::create_restic(&place, &settings, login()).unwrap());
    restic(&folder.path().join("copy"), &["check", "--read-data"]);
    let store = RemoteStore::open_restic(&place, &settings, login()).unwrap();
    every_claim_of_restic_holds(&store, Names::Exclusive);
    std::fs::rename(folder.path().join("copy"), folder.path().join("elsewhere")).unwrap();
    let start = Instant::now();
    while store.list(Area::Restic(ResticArea::Data)).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(30), "an empty list of what is away");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_rest_server_holds_what_restic_reads() {
    let folder = tempfile::tempdir().unwrap();
    let from = made_by_restic(folder.path());
    let served = folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    let mut server = RcloneServer::restic(&served);
    let place = remote(&format!("rest:http://{}/host1/r/", server.place));
    // Short, since it goes away at the end.
    let settings = Settings { retry_for: Some(Duration::from_secs(1)), ..Settings::default() };
    let open = || RemoteStore::open_restic(&place, &settings, login());
    assert!(matches!(open(), Err(StoreError::NoRepository { .. })));
    what_restic_made_goes_there_and_comes_back(&from, &RemoteStore::create_restic(&place, &settings, login()).unwrap());
    restic(&served.join("host1/r"), &["check", "--read-data"]);
    assert!(matches!(RemoteStore::create_restic(&place, &settings, login()), Err(StoreError::NotEmpty { .. })));
    let store = open().unwrap();
    every_claim_of_restic_holds(&store, Names::Repeatable);
    let large = fresh(70 << 20);
    let pack = ResticArea::Data.object(hash(&large));
    store.put_new(&pack, &large).unwrap();
    assert!(store.get(&pack).unwrap() == large, "larger than any part");
    std::fs::rename(served.join("host1"), folder.path().join("elsewhere")).unwrap();
    what_is_away_is_an_error(&store);
    server.kill();
    what_is_away_is_an_error(&store);
    assert!(store.get(&ResticArea::CONFIG).unwrap_err().is_away());
}
