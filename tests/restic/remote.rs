//! The same over S3, SFTP and REST, in the words that restic has for these places.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::place::{Made, PASSWORD, Place};
use super::s3_server::{BUCKET, KEY_ID, S3Server, SECRET};
use super::ssh_server::SshServer;
use super::trees::{self, Said};

/// Variables that a place needs.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Imports a repository of restic that lies at a location, and exports to another one. `place_of` says where what lies
/// at a location is on this disk.
fn there_and_back(place: &Place, source: &std::path::Path, locations: [&str; 2], variables: Variables<'_>) {
    let run = |arguments: &[&str]| {
        let said = Said::by(place.bk_command(arguments).envs(variables.iter().copied()));
        assert_eq!(said.status.code(), Some(0), "{arguments:?}: {}", said.text());
        assert!(!said.text().contains("canary"), "a secret: {}", said.text());
        said
    };
    let [there, out] = locations;
    let to = place.empty("restored-in-place");
    run(&["--repo", there, "restore", "latest", "--to", to.to_str().unwrap()]);
    trees::same(&place.bench, source, &trees::restored(&to, source));
    run(&["import", there]);
    place.bk_restores(&[], "latest", source);
    std::fs::write(source.join("added"), trees::noise(99, 200_000)).unwrap();
    place.bench.backs_up(&[source]);
    run(&["export", out]);
    run(&["export", out]);
    run(&["--repo", out, "check", "--read-data"]);
}

/// What restic says of the repository that was exported, on the disk of its server.
fn is_whole(place: &Place, repository: &str, source: &std::path::Path) {
    let locks = std::fs::read_dir(PathBuf::from(repository).join("locks"));
    assert_eq!(locks.map_or(0, Iterator::count), 0, "no lock is left");
    place.restic_checks(repository);
    place.restic_restores(repository, "latest", source);
}

#[test]
fn a_bucket_of_s3_is_imported_from_and_exported_to() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    let server = S3Server::start();
    let copied = Command::new("cp").arg("-r").arg(place.path("there")).arg(server.object("there")).status().unwrap();
    assert!(copied.success());
    let of = |name: &str| format!("restic:s3:{}/{BUCKET}/{name}", server.endpoint());
    let variables =
        [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_DEFAULT_REGION", "us-east-1")];
    there_and_back(&place, &source, [&of("there"), &of("out")], &variables);
    is_whole(&place, server.object("out").to_str().unwrap(), &source);
}

#[test]
fn a_folder_behind_ssh_is_imported_from_and_exported_to() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    let server = SshServer::start();
    let section = |name: &str| {
        format!(
            "[repository.{name}]\nlocation = \"restic:{}\"\nformat = \"restic\"\nssh-options = {:?}\n",
            server.location(&place.path(name)),
            server.options()
        )
    };
    std::fs::write(place.path("bk.toml"), section("there") + &section("out")).unwrap();
    there_and_back(&place, &source, ["there", "out"], &[]);
    is_whole(&place, &place.name("out"), &source);
}

/// `rclone serve restic` over a folder, with a login.
struct RestServer {
    child: std::process::Child,
    port: u16,
}

impl RestServer {
    fn start(place: &Place, folder: &str) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = place.bench.command("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "--",
            "rclone",
            "serve",
            "restic",
            "--addr",
            &format!("127.0.0.1:{port}"),
        ]);
        command.args(["--user", "somebody", "--pass", "canary-rest-pass"]).arg(place.path(folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("rclone runs; `tests/run` installs it");
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "rclone does not start; `tests/run` installs it");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }

    fn location(&self, name: &str) -> String {
        format!("restic:rest:http://127.0.0.1:{}/{name}/", self.port)
    }
}

impl Drop for RestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_rest_server_is_imported_from_and_exported_to() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.bench.folder("served");
    place.make(Made::V2("auto"), "served/there", &source);
    let server = RestServer::start(&place, "served");
    let variables = [("RESTIC_REST_USERNAME", "somebody"), ("RESTIC_REST_PASSWORD", "canary-rest-pass")];
    there_and_back(&place, &source, [&server.location("there"), &server.location("out")], &variables);
    is_whole(&place, &place.name("served/out"), &source);
    // And restic itself agrees over the same server.
    let theirs = server.location("out").replacen("restic:rest:http://", "rest:http://somebody:canary-rest-pass@", 1);
    let mut restic = place.restic_command(&theirs, &["snapshots"]);
    Said::by(restic.env("RESTIC_PASSWORD", PASSWORD)).exits(0);
}
