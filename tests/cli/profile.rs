//! `bk profile` says what would be backed up here and why, shows no password, and begins a configuration that is valid.

use std::path::Path;

use super::{Bench, words};

const PASSWORD: &str = "canary-Zq7-password";

impl Bench {
    /// Writes files below the folder of the bench.
    pub(super) fn tree(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    /// Writes `bk.toml`, where `HERE` is the folder of the bench.
    pub(super) fn configure(&self, text: &str) {
        let text = text.replace("HERE", self.folder.path().to_str().unwrap());
        std::fs::write(self.path("bk.toml"), text).unwrap();
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let (out, _) = self.expect(0, &[&["-c", "bk.toml", "--json"], arguments].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }
}

pub(super) fn gitea(bench: &Bench) {
    let ini = format!(
        "APP_NAME = x\n[database]\nDB_TYPE = postgres\nHOST = db.lan:5433\nNAME = forge\nUSER = git\n\
         PASSWD = `{PASSWORD}`\n[security]\nSECRET_KEY = abc\n"
    );
    bench.tree(&[("gitea/gitea/conf/app.ini", &ini), ("gitea/git/repositories/a/b.git/HEAD", "ref: x\n")]);
}

pub(super) fn plex(bench: &Bench) {
    let data = "plex/Library/Application Support/Plex Media Server";
    bench.tree(&[(&format!("{data}/Preferences.xml"), "<Preferences/>"), (&format!("{data}/Cache/x"), "x")]);
    for name in ["library", "library.blobs"] {
        let path = bench.path(data).join(format!("Plug-in Support/Databases/com.plexapp.plugins.{name}.db"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        database(&path, "metadata_items");
    }
}

pub(super) fn nextcloud(bench: &Bench) {
    let php = format!(
        "<?php\n$CONFIG = array (\n  'passwordsalt' => 's',\n  'dbtype' => 'mysql',\n  'dbname' => 'cloud',\n  \
         'dbuser' => 'nc',\n  'dbpassword' => '{PASSWORD}',\n  'dbhost' => 'localhost',\n);\n"
    );
    bench.tree(&[("nextcloud/config/config.php", &php), ("nextcloud/data/ann/files/x", "x")]);
}

fn database(path: &Path, table: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(&format!("CREATE TABLE {table}(x); INSERT INTO {table} VALUES (1);")).unwrap();
}

const ALL: &str = "[repository.disk]\nlocation = \"HERE/repository\"\n\
    [profile.gitea]\nuse = \"gitea\"\nroot = \"HERE/gitea\"\nexclude = [\"!gitea/log/**\", \"mine/**\"]\n\
    [profile.tv]\nuse = \"plex\"\nroot = \"HERE/plex\"\n\
    exclude = [\"!Library/Application Support/Plex Media Server/Updates/**\"]\n\
    [profile.nextcloud]\nuse = \"nextcloud\"\nroot = \"HERE/nextcloud\"\n\
    [profile.nextcloud.quiesce]\nhow = \"maintenance\"\n\
    [[profile.nextcloud.after]]\nrun = [\"/bin/tell\", \"canary-Zq7-password\"]\n\
    [profile.gone]\nroot = \"HERE/gone\"\n";

fn bench() -> Bench {
    let bench = Bench::new();
    gitea(&bench);
    plex(&bench);
    nextcloud(&bench);
    bench.configure(ALL);
    bench
}

#[test]
fn the_list_has_the_72_and_ones_own_and_says_what_is_here() {
    let bench = bench();
    let (out, _) = bench.expect(0, &["-c", "bk.toml", "profile", "list"]);
    let row = |name: &str| out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    assert!(row("tv").contains("configured") && row("plex").contains("as tv"), "{out}");
    assert!(row("gone").contains("configured, NO DATA"), "{out}");
    assert!(row("vaultwarden").contains("verified") && row("vaultwarden").contains("password manager"), "{out}");
    let all = bench.json(&["profile", "list"]);
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    // Two of them are configured under their own names.
    assert_eq!((names.len(), names.iter().filter(|name| **name == "gitea").count()), (72 + 2, 1));
    let here = bench.json(&["profile", "list", "--here"]);
    assert!(here.as_array().unwrap().iter().all(|one| one["here"] == true));
    assert!(here.as_array().unwrap().iter().any(|one| one["name"] == "tv" && one["configured"] == true));
    // What other programs have, too, proves nothing: /etc/passwd is no NixOS.
    let is_here = |name: &str| here.as_array().unwrap().iter().any(|one| one["name"] == name);
    assert_eq!(is_here("nixos"), Path::new("/etc/NIXOS").exists());
    assert!(!bench.path("data").exists(), "looking made something");
}

#[test]
fn a_gitea_shows_its_server_and_why_each_thing_is_left_out_but_no_password() {
    let bench = bench();
    let (out, _) = bench.expect(0, &["-c", "bk.toml", "profile", "show", "gitea"]);
    let words = words(&out);
    for told in [
        "uses the built-in `gitea`",
        "postgres, as ",
        "gitea/conf/app.ini says",
        "database forge, user git, host db.lan, port 5433",
        "with the password of the application, which must have rows in repository",
        "tried with PostgreSQL",
        "gitea/indexers/** search index, made again",
        "NOT left out: the configuration takes it back (logs)",
        "present SECRET_KEY in",
        "1. Install the same version of Gitea",
        "Nothing is stopped or paused",
    ] {
        assert!(words.contains(told), "`{told}` is not in\n{out}");
    }
    let json = bench.json(&["profile", "show", "gitea"]);
    assert_eq!((&json["engine"]["engine"], &json["engine"]["has_password"]), (&"postgres".into(), &true.into()));
    assert_eq!(json["hooks"][0]["settings"]["name"], "forge");
    assert_eq!(json["needs"][0]["in_backup"], true);
    assert!(!out.contains(PASSWORD) && !json.to_string().contains(PASSWORD));
    assert!(!bench.path("data").exists(), "looking made something");
}

#[test]
fn a_plex_in_the_layout_of_its_container_is_found_below_the_folder_that_was_named() {
    let bench = bench();
    let (out, _) = bench.expect(0, &["-c", "bk.toml", "profile", "show", "tv"]);
    assert!(out.contains("These patterns begin at"), "{out}");
    assert!(words(&out).contains("Updates/** NOT left out"), "{out}");
    assert!(!out.contains("MISSING"), "{out}");
    let json = bench.json(&["profile", "show", "tv"]);
    assert_eq!(json["sqlite"].as_array().unwrap().iter().filter(|one| one["files"][0].is_string()).count(), 2);
    assert_eq!((&json["service"], &json["needs"][0]["in_backup"]), (&"plex".into(), &true.into()));
}

#[test]
fn a_nextcloud_shows_its_server_its_maintenance_mode_and_commands_without_their_arguments() {
    let bench = bench();
    let (out, _) = bench.expect(0, &["-c", "bk.toml", "profile", "show", "nextcloud"]);
    for told in
        ["mariadb, as ", "database cloud, user nc", "stands still nextcloud", "after /bin/tell", "present passwordsalt"]
    {
        assert!(words(&out).contains(told), "`{told}` is not in\n{out}");
    }
    assert!(!out.contains(PASSWORD) && !bench.json(&["profile", "show", "nextcloud"]).to_string().contains(PASSWORD));
}

#[test]
fn a_hook_of_ones_own_is_shown_with_its_file() {
    let bench = bench();
    bench.tree(&[("hooks/postgres", "#!/bin/sh\n")]);
    let command = |arguments: &[&str]| {
        let output = bench.bk(arguments).env("BK_HOOKS_DIR", bench.path("hooks")).output().unwrap();
        super::text(&output.stdout)
    };
    let out = command(&["-c", "bk.toml", "profile", "show", "gitea"]);
    assert!(words(&out).contains(&format!("this machine's own, {}", bench.path("hooks/postgres").display())), "{out}");
}

#[test]
fn what_keeps_nothing_is_not_here_or_not_known_says_so() {
    let bench = bench();
    let (out, _) = bench.expect(0, &["profile", "show", "flaresolverr"]);
    assert!(out.contains("keeps nothing"), "{out}");
    let (out, _) = bench.expect(0, &["profile", "show", "forgejo"]);
    assert!(out.starts_with("gitea: "), "another name: {out}");
    let (out, _) = bench.expect(0, &["-c", "bk.toml", "profile", "show", "gone"]);
    assert!(out.contains("MISSING"), "{out}");
    let (_, err) = bench.expect(2, &["profile", "show", "gitae"]);
    assert!(err.contains("did you mean `gitea`?"), "{err}");
    bench.expect(2, &["profile", "show"]);
}

#[test]
fn every_built_in_profile_can_be_shown_on_one_page() {
    let bench = Bench::new();
    std::fs::write(bench.path("bk.toml"), "").unwrap();
    for one in bench.json(&["profile", "list"]).as_array().unwrap() {
        let name = one["name"].as_str().unwrap();
        let (out, _) = bench.expect(0, &["profile", "show", name]);
        assert!(out.contains("\nData folders\n") && out.contains("\nTo restore it\n"), "{name}:\n{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 160), "{name}:\n{out}");
        assert_eq!(bench.json(&["profile", "show", name])["name"], name);
    }
}

#[test]
fn a_new_profile_is_valid_as_it_is_printed_and_nothing_is_written() {
    let bench = bench();
    let root = bench.path("gitea");
    let (out, _) = bench.expect(0, &["profile", "new", "forgejo", "--root", root.to_str().unwrap()]);
    assert!(out.contains("[profile.forgejo]\n") && out.contains("use = \"gitea\"\n"), "{out}");
    assert!(out.contains("says that it uses postgres") && out.contains("#name = \"forge\""), "{out}");
    assert!(!out.contains(PASSWORD), "{out}");
    let (out_of_plex, _) = bench.expect(0, &["profile", "new", "plex", "--root", bench.path("plex").to_str().unwrap()]);
    assert!(
        out_of_plex.contains("#    \"Library/Application Support/Plex Media Server/Media/localhost"),
        "{out_of_plex}"
    );
    let (own, err) = bench.expect(0, &["profile", "new", "jelyfin"]);
    assert!(own.contains("[profile.jelyfin]") && err.contains("`jellyfin`"), "{own}{err}");
    std::fs::write(bench.path("new.toml"), format!("{out}{own}")).unwrap();
    bench.expect(0, &["-c", "new.toml", "config", "validate"]);
    let (_, err) = bench.expect(2, &["profile", "new", "No"]);
    assert!(err.contains("lower-case"), "{err}");
    assert!(!bench.path("data").exists());
}
