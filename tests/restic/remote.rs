//! The same over S3, SFTP and REST, in the words that restic has for these places.

use std::path::PathBuf;
use std::process::Command;

use super::place::{Made, Place};
use super::rclone_server::{self, RcloneServer, USER};
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
    place.init();
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
    let own = format!(
        "[family]\nkey-file = {:?}\n[repository.own]\nlocation = {:?}\n[defaults]\nto = [\"own\"]\n",
        place.name("key"),
        place.name("own"),
    );
    std::fs::write(place.path("bk.toml"), own + &section("there") + &section("out")).unwrap();
    there_and_back(&place, &source, ["there", "out"], &[]);
    is_whole(&place, &place.name("out"), &source);
}

#[test]
fn a_rest_server_is_imported_from_and_exported_to() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.bench.folder("served");
    place.make(Made::V2("auto"), "served/there", &source);
    let server = RcloneServer::restic(&place.path("served"));
    let of = |name: &str| format!("restic:rest:http://{}/{name}/", server.place);
    let variables = [("RESTIC_REST_USERNAME", USER), ("RESTIC_REST_PASSWORD", rclone_server::PASSWORD)];
    there_and_back(&place, &source, [&of("there"), &of("out")], &variables);
    is_whole(&place, &place.name("served/out"), &source);
    // And restic itself agrees over the same server.
    let login = format!("rest:http://{USER}:{}@{}/out/", rclone_server::PASSWORD, server.place);
    place.restic(&login, &["snapshots"]);
}
