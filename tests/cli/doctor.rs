//! `bk doctor` finds what is wrong before the backup does, says what to do next, and touches nothing.

use std::os::unix::fs::PermissionsExt as _;

use super::profile::{gitea, nextcloud, plex};
use super::{Bench, text, words};

impl Bench {
    /// A hook of this machine's own, which writes down the verbs that it is asked.
    fn hook(&self, name: &str, probe: &str) {
        let verbs = self.path("verbs");
        let script = format!("#!/bin/sh\necho {name} $1 >>{}\ncase $1 in probe)\n{probe}\n;; esac\n", verbs.display());
        self.tree(&[(&format!("hooks/{name}"), &script)]);
        std::fs::set_permissions(self.path("hooks").join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn doctor(&self, code: i32, arguments: &[&str]) -> String {
        let all = [&["-c", "bk.toml", "doctor"], arguments].concat();
        let output = self.bk(&all).env("BK_HOOKS_DIR", self.path("hooks")).output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "bk {all:?}\n{out}\n{err}");
        assert!(!out.contains("canary-") && !err.contains("canary-"), "a password is shown:\n{out}{err}");
        out
    }
}

const GITEA: &str = "[profile.gitea]\nuse = \"gitea\"\nroot = \"HERE/gitea\"\n\
    [profile.gitea.quiesce]\nhow = \"stop\"\nunits = [\"gitea.service\"]\n";

#[test]
fn all_is_well_when_it_is_and_nothing_but_probe_is_asked() {
    let bench = Bench::new();
    gitea(&bench);
    plex(&bench);
    nextcloud(&bench);
    let server = r#"echo '{"server":"'"$BK_SET_NAME@${BK_SET_HOST:-here}:${BK_SET_PORT:-}"'"}' >&3"#;
    let password = r#"[ "$(cat "$BK_SET_PASSWORD_FILE")" = canary-Zq7-password ] || exit 9"#;
    for name in ["postgres", "mariadb"] {
        bench.hook(name, &format!("{server}; {password}; echo '{{\"stream\":\"a.dump\"}}' >&3"));
    }
    bench.hook("service", r#"echo '{"server":"gitea.service is active"}' >&3"#);
    bench.configure(&format!(
        "{GITEA}[profile.tv]\nuse = \"plex\"\nroot = \"HERE/plex\"\n[profile.nextcloud]\nuse = \"nextcloud\"\n\
         root = \"HERE/nextcloud\"\n"
    ));
    let out = words(&bench.doctor(0, &[]));
    for told in [
        "ok hook postgres: forge@db.lan:5433; would dump a.dump; this machine's own",
        "ok hook mariadb: cloud@localhost",
        "ok hook service: gitea.service is active; would be told to stand still",
        "ok needed secret: in the backup: SECRET_KEY",
        "com.plexapp.plugins.library.db",
        "note repository: ",
        "the first backup makes it",
        "no problems, 0 warnings",
    ] {
        assert!(out.contains(told), "`{told}` is not in\n{out}");
    }
    let verbs = std::fs::read_to_string(bench.path("verbs")).unwrap();
    assert!(verbs.lines().count() == 3 && verbs.lines().all(|line| line.ends_with(" probe")), "{verbs}");
    assert!(!bench.path("data").exists(), "the doctor made something");
    // Only what was asked for.
    assert!(!bench.doctor(0, &["tv"]).contains("postgres"));
}

#[test]
fn a_login_that_fails_is_3_with_the_words_of_the_server_and_the_next_step() {
    let bench = Bench::new();
    gitea(&bench);
    bench.hook("service", "");
    bench.hook(
        "postgres",
        "echo 'FATAL: role does not exist' >&2\necho '{\"problem\":\"cannot log in\",\"hint\":\"set user\"}' >&3\nexit 1",
    );
    bench.configure(GITEA);
    let out = words(&bench.doctor(3, &["gitea"]));
    assert!(out.contains("PROBLEM hook postgres: cannot log in: FATAL: role does not exist -> set user"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&bench.doctor(3, &["--json"])).unwrap();
    assert_eq!((&json["message_type"], &json["problems"]), (&"doctor".into(), &1.into()));
    let findings = json["groups"][0]["findings"].as_array().unwrap();
    let problem = findings.iter().find(|one| one["level"] == "problem").unwrap();
    assert_eq!((&problem["subject"], &problem["hint"]), (&"hook postgres".into(), &"set user".into()));
    let quiet = bench.doctor(3, &["-q"]);
    assert!(quiet.contains("PROBLEM") && !quiet.contains("  ok "), "{quiet}");
}

#[test]
fn what_is_missing_empty_torn_or_left_out_is_told() {
    let bench = Bench::new();
    plex(&bench);
    let databases = "plex/Library/Application Support/Plex Media Server/Plug-in Support/Databases";
    let library = bench.path(databases).join("com.plexapp.plugins.library.db");
    std::fs::File::options().write(true).open(&library).unwrap().set_len(4096).unwrap();
    let preferences = bench.path("plex/Library/Application Support/Plex Media Server/Preferences.xml");
    std::fs::remove_file(preferences).unwrap();
    std::fs::create_dir_all(bench.path("empty")).unwrap();
    let archive = bench.path("source/dump.sql.gz");
    std::fs::File::create(archive).unwrap().set_len(200 << 20).unwrap();
    bench.configure(
        "[profile.tv]\nuse = \"plex\"\nroot = \"HERE/plex\"\n\
         exclude = [\"Library/Application Support/Plex Media Server/Plug-in Support/Databases/*blobs*\"]\n\
         [profile.x]\npaths = [\"HERE/gone\", \"HERE/empty\", \"HERE/source\"]\n",
    );
    let out = words(&bench.doctor(3, &[]));
    for told in [
        "library.db ends before its last page: it is cut off",
        "library.blobs.db is left out by the patterns",
        "WARNING needed secret: NOT in this backup: Preferences.xml",
        "/gone does not exist -> correct `root` or `paths`",
        "/empty is empty",
        "1 compressed file below",
        "such as dump.sql.gz: compressed data does not deduplicate",
    ] {
        assert!(out.contains(told), "`{told}` is not in\n{out}");
    }
}

#[test]
fn repositories_are_opened_and_their_room_compared() {
    let bench = Bench::new();
    let repository = "[family]\nkey-file = \"HERE/key\"\n[repository.disk]\nlocation = \"HERE/repository\"\n";
    let profile = "[profile.x]\nroot = \"HERE/source\"\n";
    bench.configure(&format!("{repository}{profile}"));
    let out = words(&bench.doctor(3, &[]));
    assert!(out.contains("PROBLEM repository: there is no repository at") && out.contains("`bk init`"), "{out}");
    bench.expect(0, &["-c", "bk.toml", "init"]);
    assert!(words(&bench.doctor(0, &[])).contains("note snapshots: none yet"));
    bench.expect(0, &["-c", "bk.toml", "backup", "x"]);
    let out = words(&bench.doctor(0, &[]));
    for told in [
        "ok store: an object was written, read back, listed, looked at and deleted",
        "opens and can be written",
        "1 snapshot, the newest of",
        "ok room: ",
        "lies on the same file system as",
        "lies beside the repository",
    ] {
        assert!(out.contains(told), "`{told}` is not in\n{out}");
    }
    assert!(!out.contains("clock: ") && !out.contains("answers: "), "a disk has no clock of its own: {out}");
    assert!(std::fs::read_dir(bench.path("repository/tmp")).unwrap().next().is_none(), "nothing is left");
    let out = words(&bench.doctor(0, &["--speed"]));
    assert!(out.contains("ok speed: takes ") && out.contains("/s, gives "), "{out}");
    assert!(std::fs::read_dir(bench.path("repository/tmp")).unwrap().next().is_none(), "nothing is left");
    bench.configure(&format!("{repository}min-free = \"4000TiB\"\n{profile}"));
    assert!(words(&bench.doctor(3, &[])).contains("PROBLEM room: "));
    bench.configure(&format!("{repository}require-mount = \"HERE/repository\"\n{profile}"));
    assert!(words(&bench.doctor(3, &[])).contains("is not a mount point now"));
    std::fs::set_permissions(bench.path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    bench.configure(&format!("{repository}{profile}"));
    assert!(words(&bench.doctor(0, &[])).contains("WARNING key file: "));
    std::fs::write(bench.path("key"), "no key").unwrap();
    let out = words(&bench.doctor(3, &[]));
    assert!(out.contains("looked at and deleted") && out.contains("PROBLEM key: "), "{out}");
    assert!(out.contains("is no key file"), "{out}");
}

#[test]
fn what_an_earlier_run_left_standing_is_told_and_left_alone() {
    let bench = Bench::new();
    bench.tree(&[("data/quiesced/begun-1.journal", "{\"hook\":\"service\",\"profile\":\"gitea\",\"variables\":[]}\n")]);
    bench.configure("[profile.x]\nroot = \"HERE/source\"\n");
    let out = words(&bench.doctor(3, &[]));
    assert!(out.contains("a run for gitea ended before `service` had set going again"), "{out}");
    assert!(out.contains("run `bk backup gitea`") && bench.path("data/quiesced/begun-1.journal").exists(), "{out}");
}

#[test]
fn a_profile_that_is_not_known_is_2_and_a_built_in_one_needs_no_configuration() {
    let bench = Bench::new();
    bench.configure("");
    bench.doctor(2, &["gitae"]);
    bench.doctor(2, &["--no-such-flag"]);
    let out = bench.doctor(0, &["flaresolverr"]);
    assert!(out.contains("keeps nothing"), "{out}");
    let out = bench.doctor(3, &["vaultwarden"]);
    assert!(out.contains("none of the places") && words(&out).contains("bk profile new vaultwarden --root"), "{out}");
}
