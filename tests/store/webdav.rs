//! A folder behind WebDAV, served by rclone.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bk::store::remote::{Credentials, RemoteStore, Settings, Trouble};
use bk::store::{Area, Location, Store, StoreError};

use super::claims::{Names, every_claim_holds};

const USER: &str = "me";
const PASSWORD: &str = "canary-dav-password";

/// Killed when it goes, and with the thread that started it.
struct Server {
    child: Child,
    place: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let place = format!("127.0.0.1:{port}");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "rclone", "serve", "webdav", "--addr", &place]);
        // What it remembers of folders it must forget soon: a disk is taken away from it.
        command.args(["--dir-cache-time", "1s"]).arg(folder);
        // Not looking into the user's configuration, and the password not in the list of processes.
        command.env("RCLONE_CONFIG", "/dev/null").env("RCLONE_USER", USER).env("RCLONE_PASS", PASSWORD);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, place };
        let start = Instant::now();
        while TcpStream::connect(&server.place).and_then(|mut stream| stream.write_all(b"")).is_err() {
            let ended = server.child.try_wait().unwrap();
            let late = start.elapsed() > Duration::from_secs(60);
            assert!(ended.is_none() && !late, "rclone does not start ({ended:?}); `tests/run` installs it");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn remote(&self, path: &str) -> bk::store::location::Remote {
        match Location::parse(&format!("webdav://{}/{path}", self.place), Path::new("/")).unwrap() {
            Location::Remote(remote) => remote,
            Location::Local(_) => panic!("it is remote"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn credentials(password: &str) -> Option<Credentials> {
    Some(Credentials::new(USER.to_owned(), password.to_owned(), None))
}

#[test]
fn a_folder_behind_webdav_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let place = server.remote("host1/bk");
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
