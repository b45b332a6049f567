//! A folder behind SSH, served by OpenSSH.

use std::path::Path;
use std::time::{Duration, Instant};

use bk::id::{ObjectId, to_hex};
use bk::store::location::Remote;
use bk::store::remote::Settings;
use bk::store::sftp::SshTrouble;
use bk::store::{Area, Location, ObjectName, SftpStore, Store, StoreError};

use super::claims::{Names, every_claim_holds};
use super::ssh_server::SshServer;

fn remote(server: &SshServer, folder: &Path) -> Remote {
    match Location::parse(&server.location(folder), Path::new("/")).unwrap() {
        Location::Remote(remote) => remote,
        Location::Local(_) => panic!("it is remote"),
    }
}

fn settings(ssh_options: Vec<String>) -> Settings {
    Settings { ssh_options, ..Settings::default() }
}

fn object(bytes: &[u8]) -> ObjectName {
    ObjectName::Plain(Area::Snapshots, ObjectId(*blake3::hash(bytes).as_bytes()))
}

/// A server and a repository behind it.
fn bench() -> (SshServer, tempfile::TempDir, SftpStore) {
    let (server, folder) = (SshServer::start(), tempfile::tempdir().unwrap());
    let store = SftpStore::create(&remote(&server, &folder.path().join("host1/bk")), &settings(server.options()));
    (server, folder, store.unwrap())
}

fn trouble(error: &StoreError) -> Option<SshTrouble> {
    match error {
        StoreError::Ssh { trouble, .. } => Some(*trouble),
        _ => None,
    }
}

#[test]
fn a_folder_behind_ssh_keeps_every_promise() {
    let (server, folder) = (SshServer::start(), tempfile::tempdir().unwrap());
    let place = remote(&server, &folder.path().join("host1/bk"));
    let settings = settings(server.options());
    assert!(matches!(SftpStore::open(&place, &settings), Err(StoreError::NoRepository { .. })));
    let store = SftpStore::create(&place, &settings).unwrap();
    assert!(store.syncs());
    every_claim_holds(&store, Names::Exclusive);
    let left = std::fs::read_dir(folder.path().join("host1/bk/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing temporary stays");
    every_claim_holds(&SftpStore::open(&place, &settings).unwrap(), Names::Exclusive);
    assert!(matches!(SftpStore::create(&place, &settings), Err(StoreError::NotEmpty { .. })));
    // The disk behind the server goes away: that is no empty repository.
    std::fs::rename(folder.path().join("host1"), folder.path().join("elsewhere")).unwrap();
    std::fs::create_dir_all(folder.path().join("host1/bk")).unwrap();
    for area in Area::ALL {
        assert!(store.list(area).unwrap_err().is_missing(), "{area:?}");
    }
    assert!(store.put_new(&object(b"x"), b"x").is_err(), "and nothing is put there");
    let there: Vec<_> = std::fs::read_dir(folder.path().join("host1/bk")).unwrap().collect();
    assert!(there.is_empty(), "{there:?}");
}

#[test]
fn an_interrupted_making_is_taken_over_and_what_is_strange_is_not() {
    let (server, folder, store) = bench();
    drop(store);
    let path = folder.path().join("host1/bk");
    let place = remote(&server, &path);
    let again = || SftpStore::create(&place, &settings(server.options()));
    std::fs::remove_dir(path.join("packs/ff")).unwrap();
    std::fs::write(path.join("keys/slot"), "x").unwrap();
    std::fs::write(path.join("tmp/left"), "x").unwrap();
    again().unwrap();
    assert!(path.join("packs/ff").is_dir());
    for strange in ["packs/00/x", "packs/x", "index/x", "photos"] {
        std::fs::write(path.join(strange), "x").unwrap();
        assert!(matches!(again(), Err(StoreError::NotEmpty { .. })), "{strange}");
        std::fs::remove_file(path.join(strange)).unwrap();
    }
    again().unwrap();
}

#[test]
fn every_object_is_synced_before_and_after_it_gets_its_name() {
    let (server, folder, store) = bench();
    server.take_log();
    let bytes = b"to be durable".to_vec();
    store.put_new(&object(&bytes), &bytes).unwrap();
    let log = server.take_log();
    let at = |words: &str| log.lines().position(|line| line.contains(words));
    let syncs: Vec<_> =
        log.lines().enumerate().filter(|(_, line)| line.contains("fsync \"")).map(|(at, _)| at).collect();
    let named = at("hardlink old").expect("it gets its name");
    assert!(matches!(syncs[..], [before, after] if before < named && named < after), "{log}");
    assert!(folder.path().join("host1/bk").join(object(&bytes).to_string()).exists());
}

#[test]
fn folders_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_server, folder, _store) = bench();
    for name in ["", "packs", "packs/00", "tmp"] {
        let mode = std::fs::metadata(folder.path().join("host1/bk").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

#[test]
fn what_writers_that_died_have_left_goes_after_a_day() {
    let (_server, folder, store) = bench();
    let left = |name: &str, hours: u64| {
        let path = folder.path().join("host1/bk/tmp").join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        path
    };
    let (old, young) = (left("old", 25), left("young", 23));
    store.clean().unwrap();
    assert!(!old.exists() && young.exists());
}

#[test]
fn why_there_is_no_connection_is_said_with_the_next_step() {
    let mut server = SshServer::start();
    let folder = tempfile::tempdir().unwrap();
    let place = remote(&server, folder.path());
    let open = |options: Vec<String>| SftpStore::open(&place, &settings(options)).unwrap_err();
    let error = open(server.options_that_know_no_host());
    assert_eq!(trouble(&error), Some(SshTrouble::UnknownHost), "{error:?}");
    assert!(error.hint().contains("connect once by hand with `ssh`"));
    let error = open(server.options_with_wrong_key());
    assert_eq!(trouble(&error), Some(SshTrouble::Refused), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("Permission denied"), "{error:?}");
    let error = open(vec!["-F".to_owned(), "/nowhere/config".to_owned()]);
    assert_eq!(trouble(&error), Some(SshTrouble::Options), "{error:?}");
    let error = open([server.options(), vec!["-oZebra=1".to_owned()]].concat());
    assert_eq!(trouble(&error), Some(SshTrouble::Options), "{error:?}");
    let nowhere = Location::parse("sftp://host.invalid/x", Path::new("/")).unwrap();
    let Location::Remote(nowhere) = nowhere else { panic!("it is remote") };
    let error = SftpStore::open(&nowhere, &settings(server.options())).unwrap_err();
    assert_eq!(trouble(&error), Some(SshTrouble::NoHost), "{error:?}");
    server.offer_no_sftp();
    let error = SftpStore::open(&place, &settings(server.options())).unwrap_err();
    assert_eq!(trouble(&error), Some(SshTrouble::NoSftp), "{error:?}");
    server.stop();
    let start = Instant::now();
    let error = SftpStore::open(&place, &settings(server.options())).unwrap_err();
    assert_eq!(trouble(&error), Some(SshTrouble::NobodyListens), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(15), "what was never reached is not waited for");
}

#[test]
fn a_server_that_goes_and_comes_back_costs_time_and_nothing_else() {
    let (mut server, folder, store) = bench();
    let mut bytes = vec![0; 30 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let put = |number: u8| {
        let mut bytes = bytes.clone();
        bytes[0] = number;
        let name = object(&bytes);
        store.put_new(&name, &bytes).unwrap();
        assert!(store.get(&name).unwrap() == bytes);
        name
    };
    let names: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || put(number))).collect();
        for wait in [150, 400] {
            std::thread::sleep(Duration::from_millis(wait));
            server.stop();
            std::thread::sleep(Duration::from_millis(wait));
            server.run();
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let listed = store.list(Area::Snapshots).unwrap();
    assert_eq!(listed.len(), names.len());
    assert!(listed.iter().all(|one| one.size == bytes.len() as u64));
    drop(folder);
}

#[test]
fn a_put_whose_answer_was_lost_is_done() {
    let (mut server, folder, store) = bench();
    drop(store);
    server.lose_the_answer_to("hardlink old");
    let place = remote(&server, &folder.path().join("host1/bk"));
    // There is no configuration yet that could be opened.
    let store = SftpStore::create(&place, &settings(server.options())).unwrap();
    let bytes = vec![7; 3 << 20];
    store.put_new(&object(&bytes), &bytes).unwrap();
    assert!(server.has_lost_an_answer());
    assert!(store.get(&object(&bytes)).unwrap() == bytes);
    assert!(matches!(store.put_new(&object(&bytes), &bytes), Err(StoreError::Exists { .. })));
    let left = std::fs::read_dir(folder.path().join("host1/bk/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing temporary stays");
}

#[test]
fn names_of_packs_lie_in_folders_that_are_made_again() {
    use bk::format::index_file::PackName;
    use bk::id::PackId;
    let (_server, folder, store) = bench();
    let hash = *blake3::hash(b"pack").as_bytes();
    let pack = folder.path().join("host1/bk/packs").join(to_hex(&hash[..1]));
    std::fs::remove_dir(&pack).unwrap();
    assert_eq!(store.list(Area::Packs).unwrap(), []);
    let name = ObjectName::Pack(PackName { id: PackId(hash), nonce: [7; 8] });
    store.put_new(&name, b"pack").unwrap();
    assert_eq!(store.list(Area::Packs).unwrap().len(), 1);
    assert!(pack.is_dir());
}
