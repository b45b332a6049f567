//! What cannot be opened is said in one sentence with the next step, and by its own exit code.

use super::place::{Made, Place, words};
use super::trees::Said;

#[test]
fn a_wrong_password_ends_with_12_wherever_it_is_given() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    place.bench.backs_up(&[&source]);
    let location = place.location("there");
    std::fs::write(place.path("wrong"), "canary-wrong").unwrap();
    let before = place.objects("there");
    for arguments in [
        &["--repo", &location, "snapshots"][..],
        &["--repo", &location, "restore", "latest", "--to", "restored"],
        &["--repo", &location, "check"],
        &["import", &location],
        &["export", &location],
    ] {
        let mut command = place.bk_command(arguments);
        let said = Said::by(command.env("RESTIC_PASSWORD", "canary-wrong"));
        let text = words(&said.text());
        assert_eq!(said.status.code(), Some(12), "{arguments:?}: {text}");
        assert!(text.contains("hint: ") && text.contains("password") && !text.contains("canary"), "{text}");
    }
    for verb in ["import", "export"] {
        let text = place.expect(12, &[verb, &location, "--restic-password-file", "wrong"]);
        assert!(!text.contains("canary"), "{text}");
    }
    place.expect(12, &["--password-file", "wrong", "--repo", &location, "snapshots"]);
    assert_eq!(place.objects("there"), before);
    assert!(place.locks("there").is_empty());
}

#[test]
fn a_password_is_taken_from_every_place_that_is_promised_the_nearest_first() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    let location = place.location("there");
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = place.bk_command(arguments);
        let said = Said::by(command.env_remove("RESTIC_PASSWORD").envs(variables.iter().copied()));
        assert_eq!(said.status.code(), Some(0), "{variables:?} {arguments:?}: {}", said.text());
    };
    let file = place.name("password");
    let cat = format!("cat {file}");
    run(&[("RESTIC_PASSWORD_FILE", &file)], &["--repo", &location, "snapshots"]);
    run(&[("RESTIC_PASSWORD_COMMAND", &cat)], &["--repo", &location, "snapshots"]);
    let wrong = [("RESTIC_PASSWORD", "wrong")];
    run(&wrong, &["--repo", &location, "--password-file", &file, "snapshots"]);
    run(&wrong, &["--repo", &location, "--password-command", &cat, "snapshots"]);
    place.init();
    run(&wrong, &["import", &location, "--restic-password-file", &file]);
    run(&wrong, &["export", &location, "--restic-password-command", &cat]);
    let config = format!("[repository.old]\nlocation = {location:?}\nformat = \"restic\"\npassword-file = {file:?}\n");
    std::fs::write(place.path("bk.toml"), config).unwrap();
    run(&wrong, &["--repo", "old", "snapshots"]);
}

#[test]
fn where_there_is_no_repository_it_is_10_and_nothing_is_made_by_reading() {
    let place = Place::new();
    place.init();
    let location = place.location("nothing");
    for arguments in [&["--repo", &location, "snapshots"][..], &["--repo", &location, "check"], &["import", &location]]
    {
        let text = place.expect(10, arguments);
        assert!(text.contains("hint: ") && text.contains(&place.name("nothing")), "{text}");
    }
    assert!(!place.path("nothing").exists());
    place.bench.folder("empty");
    place.expect(10, &["--repo", &place.location("empty"), "snapshots"]);
}

#[test]
fn a_folder_that_holds_something_else_becomes_no_repository() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.bench.backs_up(&[&source]);
    for name in ["source", "data/repository"] {
        let before = place.objects(name);
        let said = place.bk(&["export", &place.location(name)]);
        assert_ne!(said.status.code(), Some(0), "{name}: {}", said.text());
        assert_eq!(place.objects(name), before, "nothing is written into {name}");
    }
    // Nor is one of restic taken for one of bk.
    place.make(Made::V2("auto"), "there", &source);
    place.expect(10, &["--repo", &place.name("there"), "snapshots"]);
}

#[test]
fn who_forgets_to_say_that_it_is_of_restic_is_told_how_to_say_it() {
    let place = Place::new();
    place.make_empty(Made::V2("auto"), "there");
    let folder = place.name("there");
    for arguments in [&["--repo", &folder, "snapshots"][..], &["--repo", &folder, "restore", "latest", "--to", "x"]] {
        let text = words(&place.expect(10, arguments));
        assert!(text.contains(&format!("write restic:{folder}")), "{text}");
    }
}
