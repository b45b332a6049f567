//! What `bk status` says, word for word.

use super::{TWO, two};

/// Times, sizes and ids in place of which something else may stand the next time.
fn masked(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let number = word.trim_start_matches('+').chars().next().is_some_and(|first| first.is_ascii_digit());
        let unit = ["B", "KiB", "MiB", "s", "min", "h"].contains(&word);
        let id = word.len() == 8 && word.chars().all(|one| one.is_ascii_hexdigit());
        if number || id {
            "#".to_owned()
        } else if unit {
            "U".to_owned()
        } else {
            word.to_owned()
        }
    };
    text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_table_says_how_things_stand() {
    let bench = two("[schedule]\nrun = \"30 2 * * *\"\n");
    let said = bench.expect(8, &["status"]);
    let expected = [
        "PROFILE REPOSITORY LAST COMPLETE SIZE # DAYS CHECKED VERIFIED NEXT RUN",
        "shop ssd never never never in # U NO COMPLETE BACKUP",
        "usb never never never NO COMPLETE BACKUP",
        "wiki ssd never never never in # U NO COMPLETE BACKUP",
        "usb never never never NO COMPLETE BACKUP",
        "# of # profiles not fine: shop, wiki",
    ];
    assert_eq!(masked(&said), expected, "{said}");
    bench.expect(0, &["run"]);
    bench.expect(0, &["check"]);
    let said = bench.expect(0, &["status"]);
    let expected = [
        "PROFILE REPOSITORY LAST COMPLETE SIZE # DAYS CHECKED VERIFIED NEXT RUN",
        "shop ssd just now # U # U just now never in # U fine",
        "usb just now # U # U just now never fine",
        "wiki ssd just now # U # U just now never in # U fine",
        "usb just now # U # U just now never fine",
        "# profiles are fine",
    ];
    assert_eq!(masked(&said), expected, "{said}");
    std::fs::write(bench.path("broken"), "").unwrap();
    bench.expect(4, &["run", "shop"]);
    let said = bench.expect(1, &["status", "--offline"]);
    let failed = "FAILED: program `test` failed with exit code 1; it is a command of the moment `before`";
    let shop: Vec<&str> = said.lines().filter(|line| line.contains(failed)).collect();
    assert_eq!(shop.len(), 2, "{said}");
    assert!(said.ends_with("1 of 2 profiles not fine: shop\n"), "{said}");
    let history = bench.expect(0, &["status", "shop"]);
    let expected = [
        "TIME REPOSITORY SNAPSHOT FILES NEW STORED TOOK",
        "# # usb none # U hook failed: program `test` failed with exit code # it is a command of the moment `before`",
        "# # ssd none # U hook failed: program `test` failed with exit code # it is a command of the moment `before`",
        "# # usb # # # U # U # U complete",
        "# # ssd # # # U # U # U complete",
    ];
    assert_eq!(masked(&history), expected, "{history}");
    assert_eq!(bench.expect(0, &["status", "shop", "-n", "1"]).lines().count(), 2);
    bench.expect(0, &["restore", "wiki", "--to", bench.path("back").to_str().unwrap()]);
    let said = bench.expect(1, &["status", "--offline"]);
    assert!(said.contains("restored just now, took 0 s"), "how long a restore takes is known: {said}");
}

#[test]
fn programs_get_one_document() {
    let bench = two("");
    bench.expect(0, &["run", "wiki"]);
    let status = bench.json(8, &["status"]).remove(0);
    let wiki = status["profiles"].as_array().unwrap().iter().find(|one| one["profile"] == "wiki").unwrap();
    assert_eq!(wiki["status"], "fine");
    let ssd = &wiki["repositories"][0];
    assert_eq!((ssd["repository"].as_str(), ssd["snapshots"].as_u64()), (Some("ssd"), Some(1)));
    assert_eq!(ssd["complete_snapshot"]["id"].as_str(), bench.ids("ssd").first().map(String::as_str));
    assert_eq!(ssd["last_run"]["figures"]["files"], 21);
    let runs = bench.json(0, &["status", "wiki"]);
    assert_eq!(runs[0].as_array().unwrap().len(), 2);
}

#[test]
fn a_record_that_cannot_be_read_or_kept_fails_no_backup() {
    let bench = two("");
    bench.expect(0, &["run"]);
    let state = bench.path("data/state.sqlite");
    std::fs::write(&state, b"no database at all, but long enough to be looked at as one").unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(bench.path(&format!("data/state.sqlite{end}")));
    }
    let said = bench.expect(0, &["status"]);
    assert!(said.contains("nothing is remembered") && said.contains("2 profiles are fine"), "{said}");
    let said = bench.expect(0, &["backup", "wiki"]);
    assert!(said.contains("state.sqlite.damaged-1"), "{said}");
    assert!(!bench.expect(0, &["backup", "wiki"]).contains("damaged"));
    // A folder stands where the file should be.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(bench.path(&format!("data/state.sqlite{end}")));
    }
    std::fs::create_dir(&state).unwrap();
    let said = bench.expect(0, &["backup", "wiki"]);
    assert_eq!(said.matches("this run is not recorded for `bk status`").count(), 1, "{said}");
    bench.expect(0, &["run"]);
}

#[test]
fn of_a_repository_that_only_the_command_line_names_nothing_is_remembered() {
    let bench = two("");
    bench.expect(0, &["run"]);
    let _ = std::fs::remove_dir_all(bench.path("data"));
    let place = bench.path("ssd");
    for arguments in [["check", "--no-key"].as_slice(), &["prune"], &["backup", "./source"]] {
        bench.expect(0, &[&["--repo", place.to_str().unwrap()], arguments].concat());
    }
    assert!(!bench.path("data/state.sqlite").exists());
}

#[test]
fn what_is_remembered_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = two("");
    bench.expect(0, &["run"]);
    let mode = bench.path("data/state.sqlite").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_required_gives_the_exit_code_of_a_backup() {
    let bench = two("");
    std::fs::rename(bench.path("usb"), bench.path("unplugged")).unwrap();
    bench.expect(7, &["backup", "wiki"]);
    bench.expect(7, &["backup", "wiki", "--require", "everywhere"]);
    bench.expect(0, &["backup", "wiki", "--require", "complete"]);
    std::fs::rename(bench.path("unplugged"), bench.path("usb")).unwrap();
    super::hook(
        &bench,
        "own",
        "case $1 in probe) echo '{\"stream\": \"own.txt\", \"about\": \"all\"}' >&3 ;; dump) echo x; exit 1 ;; *) exit 75 ;; esac",
    );
    bench.configure(&format!("{TWO}[[profile.wiki.database]]\nengine = \"own\"\n"));
    bench.expect(4, &["backup", "wiki", "--require", "complete"]);
    bench.expect(0, &["backup", "wiki", "--require", "snapshot"]);
    std::fs::write(bench.path("broken"), "").unwrap();
    bench.expect(4, &["backup", "shop", "--require", "snapshot"]);
}

#[test]
fn a_service_that_keeps_nothing_is_seen_to_and_fine() {
    let bench = two("");
    let stateless = bk::profile::Service::all().iter().find(|one| one.state == bk::profile::State::Stateless);
    let stateless = stateless.expect("bk knows a service that keeps nothing").slug;
    bench.configure(&format!("{TWO}[profile.idle]\nuse = \"{stateless}\"\nmax-age = \"26h\"\n"));
    bench.expect(0, &["run"]);
    let said = bench.expect(0, &["status"]);
    assert!(said.contains("idle") && said.contains("fine: it keeps nothing"), "{said}");
}
