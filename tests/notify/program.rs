//! A program of the user's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{BODY, TITLE, channel, failed, sender, write};

fn script(folder: &Path, text: &str) -> String {
    let path = write(folder, "tell", &format!("#!/bin/sh\ncd {}\n{text}\n", folder.display()));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn it_gets_everything_at_its_input_the_most_important_in_its_environment_and_its_arguments_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "cat >input; env >environment; for a; do echo \"<$a>\"; done >arguments");
    let command = format!("kind = \"program\"\ncommand = [\"{program}\", \"a b\", \"$(id) ; *\"]");
    sender().deliver(&channel(&command), &failed()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let input: serde_json::Value = serde_json::from_str(&read("input")).unwrap();
    assert_eq!((input["title"].as_str(), input["body"].as_str()), (Some(TITLE), Some(BODY)));
    assert_eq!(input["entries"][0]["repository"], "b2");
    assert_eq!(read("arguments"), "<a b>\n<$(id) ; *>\n");
    let environment = read("environment");
    for line in [
        "BK_EVENT=failed",
        "BK_HOST=nas",
        "BK_TITLE=nas: gitea failed",
        "BK_PROFILE=gitea",
        "BK_REPOSITORY=b2",
        "BK_EXIT=4",
    ] {
        assert!(environment.lines().any(|one| one == line), "{line} is not in\n{environment}");
    }
}

#[test]
fn one_that_does_not_read_its_input_is_fine_and_one_that_fails_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let tell = |text: &str| {
        let program = script(folder.path(), text);
        sender().deliver(&channel(&format!("kind = \"program\"\ncommand = [\"{program}\"]")), &failed())
    };
    tell("exec true").unwrap();
    let error = tell("echo first >&2; printf 'no modem\\033[1m\\n\\n' >&2; exit 7").unwrap_err();
    assert_eq!(error.to_string(), "[notify.one]: the program failed: no modem [1m");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("failed with exit code 7"), "{cause}");
    let begin = Instant::now();
    let error = tell("sleep 60 & sleep 60").unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("time limit"), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    let error = sender().deliver(&channel("kind = \"program\"\ncommand = [\"/nowhere/tell\"]"), &failed()).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("cannot be started"));
}
