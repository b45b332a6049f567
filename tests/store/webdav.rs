//! A folder behind WebDAV, served by rclone.

use std::time::{Duration, Instant};

use bk::store::location::Remote;
use bk::store::remote::{Credentials, RemoteStore, Settings, Trouble};
use bk::store::{Area, Location, Store, StoreError};

use super::claims::{Names, every_claim_holds};
use super::rclone_server::{PASSWORD, RcloneServer, USER};

fn remote(server: &RcloneServer, path: &str) -> Remote {
    match Location::parse(&format!("webdav://{}/{path}", server.place), std::path::Path::new("/")).unwrap() {
        Location::Remote(remote) => remote,
        Location::Local(_) => panic!("it is remote"),
    }
}

fn credentials(password: &str) -> Option<Credentials> {
    Some(Credentials::new(USER.to_owned(), password.to_owned(), None))
}

#[test]
fn a_folder_behind_webdav_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let server = RcloneServer::webdav(folder.path());
    let place = remote(&server, "host1/bk");
    let settings = Settings::default();
    assert!(matches!(
        RemoteStore::open(&place, &settings, credentials(PASSWORD)),
        Err(StoreError::NoRepository { .. })
    ));
    let store = RemoteStore::create(&place, &settings, credentials(PASSWORD)).unwrap();
    every_claim_holds(&store, Names::Exclusive);
    let left = std::fs::read_dir(folder.path().join("host1/bk/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing temporary stays");
    every_claim_holds(&RemoteStore::open(&place, &settings, credentials(PASSWORD)).unwrap(), Names::Exclusive);
    // The disk behind the server goes away: that is no empty repository.
    std::fs::rename(folder.path().join("host1"), folder.path().join("elsewhere")).unwrap();
    let start = Instant::now();
    while store.list(Area::Packs).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(30), "an empty list of what is away");
        std::thread::sleep(Duration::from_millis(200));
    }
    let error = RemoteStore::open(&place, &settings, credentials("canary-wrong")).unwrap_err();
    assert!(matches!(error, StoreError::Remote { trouble: Trouble::WrongKey, .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"));
}
