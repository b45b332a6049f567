//! No secret in what is printed, in errors, in `ps`, or in the repository's clear text.

use std::os::unix::fs::PermissionsExt as _;

use super::{Bench, text};

const CANARY: &str = "canary-Zq7-password";

fn assert_silent(output: &std::process::Output, secrets: &[&str], what: &str) {
    for secret in secrets {
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!said.contains(secret), "{what} shows a secret");
    }
}

#[test]
fn failing_commands_show_no_password_and_no_key() {
    let bench = Bench::new();
    bench.expect(0, &["backup", "./source"]);
    let key = std::fs::read_to_string(bench.path("data/key")).unwrap();
    let digits = key.trim().strip_prefix("bk-key-1-").unwrap();
    std::fs::write(bench.path("password"), CANARY).unwrap();
    // A password where a key file is expected, a truncated key, a key with a typo.
    std::fs::write(bench.path("short.key"), &key[..40]).unwrap();
    std::fs::write(bench.path("typo.key"), key.replace("bk-key-1-", "bk-key-2-")).unwrap();
    let secrets = [CANARY, digits, &key[20..40]];
    let commands: [&[&str]; 12] = [
        &["--password-file", "password", "snapshots"],
        &["--key-file", "password", "snapshots"],
        &["--key-file", "short.key", "snapshots"],
        &["--key-file", "typo.key", "-v", "snapshots"],
        &["--password-command", "cat password", "snapshots"],
        &["--password-command", "sh -c false", "snapshots"],
        &["-v", "snapshots"],
        &["-v", "--json", "backup", "./source"],
        &["-v", "backup", "./missing"],
        &["--password-file", "password", "config", "show"],
        &["config", "show", "--json"],
        &["key", "list"],
    ];
    for arguments in commands {
        let output = bench.bk(arguments).output().unwrap();
        assert_silent(&output, &secrets, &format!("{arguments:?}"));
        let output = bench.bk(arguments).env("BK_PASSWORD", CANARY).output().unwrap();
        assert_silent(&output, &secrets, &format!("{arguments:?} with BK_PASSWORD"));
    }
}

#[test]
fn a_program_that_is_run_gets_no_secret_of_ours() {
    let bench = Bench::new();
    let dump = ["backup", "--name", "environment", "--command", "--", "env"];
    let with_password = |arguments: &[&str]| bench.bk(arguments).env("BK_PASSWORD", CANARY).output().unwrap();
    let output = with_password(&dump);
    assert!(output.status.success() && !text(&output.stderr).contains(CANARY), "{}", text(&output.stderr));
    let out = text(&with_password(&["dump", "latest", "environment"]).stdout);
    assert!(out.contains("PATH=") && !out.contains("BK_PASSWORD") && !out.contains(CANARY), "{out}");
}

#[test]
fn keys_and_repositories_are_private_and_names_do_not_lie_in_clear_text() {
    let bench = Bench::new();
    std::fs::write(bench.path("source/very-secret-name"), "very-secret-content").unwrap();
    bench.expect(0, &["backup", "./source"]);
    let mode = |name: &str| std::fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data/key"), mode("data/repository")), (0o600, 0o700));
    for area in ["config", "keys", "packs", "index", "snapshots"] {
        for object in bench.objects(area) {
            let bytes = std::fs::read(&object).unwrap();
            for secret in [&b"very-secret"[..], b"source"] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", object.display());
            }
        }
    }
}
