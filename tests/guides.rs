//! The guides of `bk help` are true: their commands exist, and what they say is printed is printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::error::ErrorKind;

/// Every guide as it was written, by its name.
fn guides() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/command/guides");
    let mut guides: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    guides.sort_unstable();
    guides
}

fn guide(name: &str) -> String {
    guides().into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no guide {name}")).1
}

/// What stands in it as it is, without the indent: one text for each piece between other lines.
fn indented(text: &str) -> Vec<Vec<String>> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(line) if goes_on => blocks.last_mut().unwrap().push(line.to_owned()),
            Some(line) => blocks.push(vec![line.to_owned()]),
            None => {}
        }
        goes_on = line.starts_with("    ");
    }
    blocks
}

/// What stands in backticks.
fn inline(text: &str) -> Vec<String> {
    let prose: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).map(str::trim).collect();
    prose.join(" ").split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The words of a command line; only single quotes stand in the guides.
fn words(line: &str) -> Vec<String> {
    let parts: Vec<&str> = line.split('\'').collect();
    let mut words = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        if at % 2 == 1 {
            words.push((*part).to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// A place with what the guides speak of.
struct Place {
    folder: tempfile::TempDir,
    /// The data folder of the machine, which is another one on a new machine.
    data: &'static str,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["photos", "wiki/pages", "disk"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for (name, seed) in
            [("photos/cat.jpg", 1), ("photos/dog.jpg", 2), ("wiki/a", 3), ("wiki/b", 4), ("wiki/pages/c", 5)]
        {
            std::fs::write(at(name), noise(seed, 200_000)).unwrap();
        }
        std::fs::write(at("bk.toml"), "").unwrap();
        Self { folder, data: "data" }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a guide with the places of this machine.
    fn local(&self, text: &str) -> String {
        let host = host();
        // A folder is not mounted.
        let mut text = text.replace("    require-mount = \"/mnt/backup\"\n", "");
        for (there, here) in [
            ("/mnt/backup/bk", "disk/bk"),
            ("/mnt/bk", "disk/bk"),
            ("sftp://me@attic.example.org/srv/bk", "attic"),
            ("/etc/bk/bk.toml", "bk.toml"),
            ("/etc/bk/key", "key"),
            ("/var/lib/bk", "data"),
            ("/root/kit.txt", "kit.txt"),
            ("/home/me/photos", "photos"),
            ("/srv/wiki", "wiki"),
            ("/srv/gone", "gone"),
            ("/tmp/try", "try"),
            ("/mnt/new", "new"),
        ] {
            text = text.replace(there, self.path(here).to_str().unwrap());
        }
        text.replace("host attic", &format!("host {}", host.trim()))
            .replace("  attic  ", &format!("  {}  ", host.trim()))
    }

    fn bk(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "UTC");
        command.env("HOME", self.folder.path()).env("BK_DATA_DIR", self.path(self.data));
        command.env("BK_CONFIG", self.path("bk.toml")).stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    /// Runs a line as it stands in a guide; gives the exit code and what a terminal would show.
    fn run(&self, line: &str) -> (i32, String) {
        let both = std::fs::File::create(self.path("both")).unwrap();
        let status = self.bk(&words(line)[1..]).stdout(both.try_clone().unwrap()).stderr(both).status().unwrap();
        (status.code().unwrap(), std::fs::read_to_string(self.path("both")).unwrap())
    }

    fn succeed(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, 0, "{line}\n{said}");
        said
    }

    fn add_to_config(&self, text: &str) {
        let config = std::fs::read_to_string(self.path("bk.toml")).unwrap();
        std::fs::write(self.path("bk.toml"), format!("{config}{text}\n")).unwrap();
    }

    /// Does what a guide says, in its order: writes what belongs into the configuration, runs every command but those
    /// that `is_left_out`, and compares what the guide shows of their output. Gives the commands that were run.
    fn follow(&self, text: &str, is_left_out: impl Fn(&str) -> bool) -> Vec<String> {
        let mut done = Vec::new();
        for block in indented(&self.local(text)) {
            if block[0].starts_with('[') {
                if !is_left_out(&block[0]) {
                    self.add_to_config(&block.join("\n"));
                }
                continue;
            }
            let mut lines = block.iter().peekable();
            while let Some(line) = lines.next() {
                let command = line.strip_prefix("$ ").unwrap_or(line);
                assert!(command.starts_with("bk "), "what is `{line}`?");
                let mut expected = Vec::new();
                while let Some(shown) = lines.next_if(|next| !next.starts_with("bk ") && !next.starts_with("$ ")) {
                    expected.push(shown.clone());
                }
                if is_left_out(command) {
                    continue;
                }
                let (code, said) = self.run(command);
                // What a doctor finds, and notes by its code, is a matter of the machine.
                assert!(code == 0 || code == 3 && command.starts_with("bk doctor"), "{command}: {code}\n{said}");
                if line.starts_with("$ ") {
                    compare(command, &expected, &said);
                }
                done.push(command.to_owned());
            }
        }
        done
    }
}

/// Every line is as it is shown, but for what differs from run to run; of one that ends in `…` the rest is left out.
fn compare(command: &str, expected: &[String], said: &str) {
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), expected.len(), "{command}\n{said:#?}");
    for (shown, printed) in expected.iter().zip(said) {
        let (shown_masked, printed_masked) = (masked(shown.trim_end_matches('…')), masked(printed));
        if shown.ends_with('…') {
            assert!(printed_masked.starts_with(shown_masked.trim_end()), "{command}\n{shown}\n{printed}");
        } else {
            assert_eq!(printed_masked, shown_masked, "{command}\n{shown}\n{printed}");
        }
    }
}

/// A line without ids, times and sizes.
fn masked(line: &str) -> String {
    let shape = |word: &str| word.replace(|one: char| one.is_ascii_digit(), "9");
    let bare = |word: &str| word.trim_matches(|one: char| !one.is_ascii_alphanumeric()).to_owned();
    let is_unit = |word: &str| ["B", "KiB", "MiB", "s"].contains(&bare(word).as_str());
    let words: Vec<&str> = line.split_whitespace().collect();
    let mask = |at: usize| {
        let word = bare(words[at]);
        let before_unit = words.get(at + 1).is_some_and(|next| is_unit(next));
        match shape(words[at]).trim_end_matches(',') {
            _ if word.len() == 8 && word.bytes().all(|one| one.is_ascii_hexdigit()) => "ID".to_owned(),
            "9999-99-99" => "DATE".to_owned(),
            "99:99:99" => "TIME".to_owned(),
            _ if before_unit && words[at].parse::<f64>().is_ok() => "#".to_owned(),
            _ if is_unit(words[at]) => words[at].replace(&word, "UNIT"),
            _ => words[at].to_owned(),
        }
    };
    (0..words.len()).map(mask).collect::<Vec<_>>().join(" ")
}

/// The name of this machine.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

/// `bk help` with these words, while the configuration is wrong.
fn help(words: &[&str]) -> Output {
    help_in(&Place::new(), words)
}

fn help_in(place: &Place, words: &[&str]) -> Output {
    std::fs::write(place.path("bk.toml"), "nonsense").unwrap();
    assert_eq!(place.run("bk snapshots").0, 2);
    let words: Vec<String> = [&["help"], words].concat().into_iter().map(str::to_owned).collect();
    place.bk(&words).output().unwrap()
}

#[test]
fn every_guide_is_listed_reached_and_a_page_of_the_manual() {
    let listed = text(&help(&[]));
    let json: serde_json::Value = serde_json::from_str(&text(&help(&["--json"]))).unwrap();
    let names: BTreeSet<&str> = json.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let guides = guides();
    assert_eq!(names, guides.iter().map(|(name, _)| name.as_str()).collect());
    let pages: Vec<_> =
        bk::command::manual().into_iter().map(|(name, page)| (name, String::from_utf8(page).unwrap())).collect();
    let page = |name: &str| &pages.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}")).1;
    for (name, text_of) in &guides {
        let title = text_of.lines().next().unwrap().trim_start_matches("# ");
        assert!(listed.contains(&format!("  {name} ")) && listed.contains(title), "{name}\n{listed}");
        let output = help(&[name]);
        let printed = text(&output);
        assert!(output.status.success() && printed.starts_with(&format!("{title}\n\n")), "{name}\n{printed}");
        assert!(!printed.contains('\x1b'), "{name} is painted where nobody looks");
        let words = |text: &str| text.split_whitespace().filter(|word| *word != "#").map(str::to_owned).collect();
        let (printed, written): (Vec<String>, Vec<String>) = (words(&printed), words(text_of));
        assert_eq!(printed, written, "{name}");
        let reference = format!("\\fBbk\\-{}\\fR(7)", name.replace('-', "\\-"));
        for other in ["bk.1", "bk-help.1"] {
            assert!(page(other).contains(&reference), "{other} does not name {reference}");
        }
        assert!(page(&format!("bk-{name}.7")).contains("\\fBbk\\-help\\fR(1)"), "{name}");
    }
}

#[test]
fn a_guide_is_as_long_as_somebody_in_trouble_reads_and_as_wide_as_a_terminal() {
    for (name, text_of) in guides() {
        let lines = text_of.lines().count();
        assert!((40..=120).contains(&lines), "{name} has {lines} lines");
        for line in text_of.lines().chain(text(&help(&[&name])).lines()) {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
}

#[test]
fn every_command_of_a_guide_is_one_that_bk_takes() {
    let parsed = |line: &str| bk::command::definition().try_get_matches_from(words(line));
    let (mut blocks, mut mentions) = (0, 0);
    for (name, text_of) in guides() {
        for line in indented(&text_of).concat() {
            let line = line.strip_prefix("$ ").unwrap_or(&line);
            if !line.starts_with("bk ") {
                continue;
            }
            blocks += 1;
            assert!(parsed(line).is_ok(), "{name}: {line}\n{}", parsed(line).unwrap_err());
        }
        for line in inline(&text_of).iter().filter(|line| line.starts_with("bk ")) {
            mentions += 1;
            let kind = parsed(line).err().map(|error| error.kind());
            // A command may be named without all that it needs.
            let named = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelp,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ];
            assert!(kind.is_none_or(|kind| named.contains(&kind)), "{name}: {line}: {kind:?}");
        }
        for topic in inline(&text_of).iter().filter_map(|line| line.strip_prefix("bk help ")) {
            assert!(guides().iter().any(|(known, _)| known == topic), "{name} names {topic}");
        }
    }
    assert!(blocks > 60 && mentions > 30, "{blocks} {mentions}");
}

#[test]
fn the_help_of_a_command_is_the_same_as_with_its_flag() {
    let place = Place::new();
    for (words, flag) in
        [("restore", "bk restore --help"), ("key add", "bk key add --help"), ("help", "bk help --help")]
    {
        let printed = text(&help_in(&place, &words.split(' ').collect::<Vec<_>>()));
        assert_eq!(printed, place.succeed(flag));
    }
}

#[test]
fn a_wrong_word_is_told_the_right_one() {
    for (word, meant) in [("bare-machin", "bare-machine"), ("restor", "restore"), ("first-bakcup", "first-backup")] {
        let output = help(&[word]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output);
        assert!(said.contains(&format!("there is no guide and no command called `{word}`")), "{said}");
        assert!(said.contains(&format!("did you mean `{meant}`?")), "{said}");
    }
}

#[test]
fn shells_complete_the_names_of_guides() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.succeed(&format!("bk completions {shell}"));
        for (name, _) in guides() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
    }
}

#[test]
fn whoever_follows_first_backup_has_two_repositories_and_a_restore_that_is_right() {
    let place = Place::new();
    let text_of = guide("first-backup");
    // A test changes no timers of the machine it runs on.
    let is_left_out = |line: &str| line == "bk systemd install" || line.contains("--database");
    let done = place.follow(&text_of, is_left_out);
    assert!(done.len() >= 12, "{done:#?}");
    for name in ["wiki/a", "wiki/pages/c"] {
        let source = place.path(name);
        let restored = place.path("try/wiki").join(source.strip_prefix("/").unwrap());
        assert_eq!(std::fs::read(restored).unwrap(), std::fs::read(source).unwrap());
    }
    // "the page opens the new one too"
    write_key(&place);
    place.succeed("bk --repo attic --key-file recovery.key restore wiki --to from-attic --verify");
    // "nothing is written while the disk is away"
    assert!(text_of.contains("require-mount"));
    let config = std::fs::read_to_string(place.path("bk.toml")).unwrap();
    let disk = place.path("disk");
    let mounted = config.replace("[repository.disk]\n", &format!("[repository.disk]\nrequire-mount = {disk:?}\n"));
    std::fs::write(place.path("bk.toml"), mounted).unwrap();
    let (code, said) = place.run("bk backup wiki");
    assert!(code == 7 && said.contains("disk IS BEHIND"), "{code} {said}");
}

/// Types the lines of the recovery kit into a file.
fn write_key(place: &Place) {
    let page = std::fs::read_to_string(place.path("kit.txt")).unwrap();
    let lines: Vec<&str> = page.lines().skip_while(|line| line.trim() != "bk-key-1-").take(3).collect();
    assert_eq!(lines.len(), 3);
    std::fs::write(place.path("recovery.key"), lines.join("\n")).unwrap();
}

#[test]
fn whoever_follows_bare_machine_has_the_files_back_and_backs_up_again() {
    let mut place = Place::new();
    let config = |place: &Place, key: &str| {
        let config = "[family]\nkey-file = KEY\n[repository.disk]\nlocation = DISK\n[profile.wiki]\nroot = WIKI\n";
        let quoted = |name: &str| format!("{:?}", place.path(name));
        let config = config.replace("KEY", &quoted(key)).replace("DISK", &quoted("disk/bk"));
        std::fs::write(place.path("bk.toml"), config.replace("WIKI", &quoted("wiki"))).unwrap();
    };
    config(&place, "old-key");
    place.succeed("bk init");
    let said = place.succeed("bk backup wiki");
    let id = said.split("snapshot ").nth(1).unwrap()[..8].to_owned();
    place.succeed("bk key recovery-kit --output kit.txt");
    write_key(&place);
    // The machine is gone, but for what is to be compared.
    std::fs::remove_file(place.path("old-key")).unwrap();
    std::fs::write(place.path("bk.toml"), "").unwrap();
    place.data = "new-data";
    let text_of = guide("bare-machine").replace("42482671", &id).replace("2026-02-27", "2999-12-31");
    let text_of = text_of.replace("OLDNAME", host().trim());
    let (restore, again) = text_of.split_at(text_of.find("# 5. ").unwrap());
    let elsewhere = |line: &str| line.contains("--database") || line.contains("b2://") || line.starts_with('[');
    let done = place.follow(restore, elsewhere);
    assert!(done.len() >= 5, "{done:#?}");
    let source = place.path("wiki/pages/c");
    let restored = place.path("new/wiki").join(source.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(restored).unwrap(), noise(5, 200_000));
    let shown = place.succeed(&format!("bk --repo disk/bk --key-file recovery.key snapshots {id}"));
    assert!(shown.contains("[profile.wiki]"), "{shown}");
    // The configuration is written again, with the key that is made now.
    config(&place, "key");
    let done = place.follow(again, |_| false);
    assert!(done.iter().any(|line| line == "bk backup wiki"), "{done:#?}");
    let (snapshots, slots) = (place.succeed("bk snapshots"), place.succeed("bk key list"));
    assert!(snapshots.contains("2 snapshots") && slots.contains("recovery kit"), "{snapshots}{slots}");
    // What the guide says is read when something is wrong.
    std::fs::write(place.path("bad.key"), format!("bk-key-1-{}", "0".repeat(64))).unwrap();
    for (line, code, message) in [
        ("bk --repo disk/bk --key-file bad.key snapshots", 12, "wrong password or key"),
        ("bk --repo disk/bk --key-file kit.txt snapshots", 12, "is no key file"),
        ("bk --repo disk/elsewhere --key-file recovery.key snapshots", 10, "there is no repository at"),
    ] {
        let (exit, said) = place.run(line);
        assert!(exit == code && said.contains(message) && text_of.contains(message), "{line}: {exit}\n{said}");
    }
}

#[test]
fn what_trouble_and_ransomware_show_is_what_is_printed() {
    let place = Place::new();
    let start =
        "[family]\nkey-file = \"KEY\"\n[repository.disk]\nlocation = \"DISK\"\n[profile.wiki]\npaths = [WIKI]\n";
    let quoted = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let config = start.replace("KEY", &quoted("key")).replace("DISK", &quoted("disk/bk"));
    std::fs::create_dir(place.path("many")).unwrap();
    for number in 0..43 {
        std::fs::write(place.path(&format!("many/{number}")), noise(number, 3000)).unwrap();
    }
    let many = place.path("many");
    std::fs::write(place.path("bk.toml"), config.replace("WIKI", &format!("{many:?}"))).unwrap();
    place.succeed("bk init");
    place.succeed("bk backup wiki");
    let with_gone = format!("{many:?}, {:?}", place.path("gone"));
    std::fs::write(place.path("bk.toml"), config.replace("WIKI", &with_gone)).unwrap();
    let local = place.local(&guide("trouble"));
    let block = indented(&local).into_iter().find(|block| block[0] == "$ bk backup wiki").unwrap();
    let (code, said) = place.run("bk backup wiki");
    assert_eq!(code, 3);
    compare("bk backup wiki", &block[1..], &said);
    // Its sizes, dates and ids are those of the README, which a test of its own holds to be true.
    let readme = include_str!("../README.md");
    let ransomware = guide("ransomware");
    let block = indented(&ransomware).into_iter().find(|block| block[0] == "$ bk backup wiki").unwrap();
    for line in block {
        assert!(readme.contains(line.trim_end_matches('…').trim_end()), "{line}");
    }
}
