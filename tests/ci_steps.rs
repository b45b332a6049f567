//! The steps for continuous integration that the README gives do what it says: each block is read from there, and its
//! shell is run against the real program. Only `sudo` is replaced, by one that runs what it is given.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot run fails")]

#[path = "support/trees.rs"]
mod trees;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use trees::{Bench, Said};
use yaml_rust2::{Yaml, YamlLoader};

const README: &str = include_str!("../README.md");

/// A commit, as every one of them calls it.
const COMMIT: &str = "9f0c1d2e3b4a5968778695a4b3c2d1e0f9e8d7c6";

/// The blocks of the section in one language, in their order.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = README.find("### Before a deploy").unwrap();
    let section = &README[start..];
    let end = section[4..].find("\n### ").into_iter().chain(section[4..].find("\n## ")).min().unwrap();
    let fence = format!("```{language}\n");
    section[..end].split(&fence).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A machine with the service, its scripts, and a checkout that a runner works in.
struct World {
    bench: Bench,
}

impl World {
    fn new() -> Self {
        let world = Self { bench: Bench::new() };
        world.bench.file("service/data", "before");
        world.configure("");
        let programs = world.bench.folder("programs");
        std::os::unix::fs::symlink(trees::program(), programs.join("bk")).unwrap();
        program(&programs.join("sudo"), "#!/bin/sh\nexec \"$@\"\n");
        for (name, text) in ["bk-before-deploy", "bk-roll-back"].iter().zip(blocks("sh")) {
            program(&programs.join(name), text);
        }
        let data = world.bench.path("service/data");
        let new = world.bench.path("service/new");
        // A migration changes the data, and may fail afterwards.
        let deploy = format!(
            "#!/bin/sh\necho after >{}\necho new >{}\n[ ! -e {} ]\n",
            data.display(),
            new.display(),
            world.bench.path("broken").display()
        );
        world.bench.folder("checkout");
        program(&world.bench.path("checkout/deploy.sh"), &deploy);
        world
    }

    fn configure(&self, more: &str) {
        let service = self.bench.path("service");
        self.bench.file("bk.toml", format!("[profile.gitea]\npaths = [\"{}\"]\n{more}", service.display()));
    }

    /// Runs the shell of a step as a runner does, with what it is told.
    fn step(&self, script: &str, told: &BTreeMap<String, String>) -> Said {
        let script = script.replace("/usr/local/sbin", self.bench.path("programs").to_str().unwrap());
        let mut command = self.bench.command("sh");
        let path = format!("{}:{}", self.bench.path("programs").display(), std::env::var("PATH").unwrap());
        command.args(["-eu", "-c", &script]).env("PATH", path).env("BK_HOOKS_DIR", self.bench.path("hooks"));
        for name in ["GITHUB_SHA", "DRONE_COMMIT_SHA", "CI_COMMIT_SHA"] {
            command.env(name, COMMIT);
        }
        command.env("GITHUB_OUTPUT", self.bench.path("checkout/outputs")).envs(told);
        Said::by(command.current_dir(self.bench.path("checkout")))
    }

    /// What the step left for those after it: the id of the snapshot.
    fn kept(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.bench.path("checkout").join(name)).unwrap_or_default();
        let text = read("outputs");
        let output = text.lines().filter_map(|line| line.strip_prefix("snapshot=")).next_back().map(str::to_owned);
        output.unwrap_or_else(|| read("snapshot").trim().to_owned())
    }

    fn data(&self) -> (String, bool) {
        let data = std::fs::read_to_string(self.bench.path("service/data")).unwrap();
        (data, self.bench.path("service/new").exists())
    }

    fn snapshots(&self) -> Vec<serde_json::Value> {
        self.bench.run(["--json", "snapshots"]).exits(0).json().as_array().unwrap().clone()
    }

    /// A dump that fails.
    fn break_dump(&self) {
        self.configure("[[profile.gitea.database]]\nengine = \"own\"\n");
        let hook = self.bench.folder("hooks").join("own");
        program(&hook, "#!/bin/sh\n[ \"$1\" = probe ] || exit 1\necho '{\"stream\": \"own.txt\"}' >&3\n");
    }
}

/// The three steps of one way: back up, deploy, roll back.
struct Steps {
    back_up: String,
    deploy: String,
    roll_back: String,
    /// What the step that rolls back is told, where `{}` stands for the id that was kept.
    told: BTreeMap<String, String>,
}

fn yaml(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn lines(list: &Yaml) -> String {
    let lines: Vec<&str> = list.as_vec().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}

/// GitHub's form, which Gitea and Forgejo read as well.
fn actions(text: &str) -> Steps {
    let document = yaml(text);
    // YAML 1.1 takes the key `on` for a boolean; this crate reads 1.2.
    assert!(!document["on"].is_badvalue());
    let steps = document["jobs"]["deploy"]["steps"].as_vec().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["name"].as_str() == Some(name)).unwrap();
    let run = |name: &str| step(name)["run"].as_str().unwrap().to_owned();
    assert_eq!(step("Back up")["id"].as_str(), Some("backup"));
    assert_eq!(step("Roll back")["if"].as_str(), Some("failure() && steps.backup.outputs.snapshot != ''"));
    let told = step("Roll back")["env"].as_hash().unwrap().iter();
    let told = told.map(|(name, value)| {
        let value = value.as_str().unwrap().replace("${{ steps.backup.outputs.snapshot }}", "{}");
        (name.as_str().unwrap().to_owned(), value)
    });
    Steps { back_up: run("Back up"), deploy: run("Deploy"), roll_back: run("Roll back"), told: told.collect() }
}

fn drone(text: &str) -> Steps {
    let document = yaml(text);
    let steps = document["steps"].as_vec().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["name"].as_str() == Some(name)).unwrap();
    let run = |name: &str| lines(&step(name)["commands"]);
    assert_eq!(step("Roll back")["when"]["status"][0].as_str(), Some("failure"));
    Steps { back_up: run("Back up"), deploy: run("Deploy"), roll_back: run("Roll back"), told: BTreeMap::new() }
}

fn gitlab(text: &str) -> Steps {
    let document = yaml(text);
    let run = |name: &str| lines(&document[name]["script"]);
    let stage = |name: &str| document[name]["stage"].as_str().unwrap().to_owned();
    let stages: Vec<&str> = document["stages"].as_vec().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(stages, ["Back up", "Deploy", "Roll back"].map(stage), "each in a stage of its own, in their order");
    assert_eq!(document["Roll back"]["when"].as_str(), Some("on_failure"));
    assert_eq!(document["Back up"]["artifacts"]["paths"][0].as_str(), Some("snapshot"));
    Steps { back_up: run("Back up"), deploy: run("Deploy"), roll_back: run("Roll back"), told: BTreeMap::new() }
}

fn ways() -> Vec<(&'static str, Steps)> {
    let all = blocks("yaml");
    assert_eq!(all.len(), 4);
    vec![
        ("Forgejo", actions(all[0])),
        ("GitHub", actions(all[1])),
        ("Drone", drone(all[2])),
        ("GitLab", gitlab(all[3])),
    ]
}

/// The body of the recipe for `just`, which it gives to the shell that the first line names.
fn recipe() -> String {
    let text = blocks("just").remove(0);
    let body: Vec<&str> = text.lines().skip(1).map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    assert_eq!(body[0], "#!/bin/sh");
    body.join("\n").replace("{{commit}}", COMMIT)
}

#[test]
fn a_deploy_that_goes_well_leaves_the_snapshot_of_the_state_before_it() {
    for (name, steps) in ways() {
        let world = World::new();
        world.step(&steps.back_up, &BTreeMap::new()).exits(0);
        world.step(&steps.deploy, &BTreeMap::new()).exits(0);
        let all = world.snapshots();
        assert_eq!(all.len(), 1, "{name}");
        assert_eq!(all[0]["id"].as_str(), Some(world.kept().as_str()), "{name}: the id is what later steps are told");
        assert_eq!(all[0]["tags"][0], format!("deploy:{COMMIT}"), "{name}");
        assert_eq!(world.data(), ("after\n".to_owned(), true), "{name}");
    }
}

#[test]
fn a_deploy_that_fails_is_rolled_back_to_the_state_before_it() {
    for (name, steps) in ways() {
        let world = World::new();
        world.bench.file("broken", "");
        world.step(&steps.back_up, &BTreeMap::new()).exits(0);
        assert!(!world.step(&steps.deploy, &BTreeMap::new()).status.success(), "{name}");
        assert_eq!(world.data(), ("after\n".to_owned(), true), "{name}: the migration has begun");
        let told = steps.told.iter().map(|(key, value)| (key.clone(), value.replace("{}", &world.kept()))).collect();
        world.step(&steps.roll_back, &told).exits(0);
        assert_eq!(world.data(), ("before".to_owned(), false), "{name}");
        // What the failed deploy left can be looked at.
        assert!(world.snapshots().iter().any(|one| one["tags"][0] == "before-rollback"), "{name}");
    }
}

#[test]
fn a_dump_that_fails_ends_the_run_before_the_deploy_and_nothing_is_rolled_back() {
    for (name, steps) in ways() {
        let world = World::new();
        world.break_dump();
        let said = world.step(&steps.back_up, &BTreeMap::new());
        assert_eq!(said.status.code(), Some(4), "{name}: {}", said.text());
        assert_eq!(world.kept(), "", "{name}: there is no id that a later step would take for a good one");
        if steps.told.is_empty() {
            // These run their last step whenever one before it failed.
            assert!(!world.step(&steps.roll_back, &BTreeMap::new()).status.success(), "{name}");
        }
        assert_eq!(world.data(), ("before".to_owned(), false), "{name}");
    }
}

#[test]
fn the_recipe_for_just_backs_up_deploys_and_rolls_back() {
    let world = World::new();
    world.step(&recipe(), &BTreeMap::new()).exits(0);
    assert_eq!(world.data(), ("after\n".to_owned(), true));
    let world = World::new();
    world.bench.file("broken", "");
    world.step(&recipe(), &BTreeMap::new()).exits(1);
    assert_eq!(world.data(), ("before".to_owned(), false));
    let world = World::new();
    world.break_dump();
    world.step(&recipe(), &BTreeMap::new()).exits(4);
    assert_eq!(world.data(), ("before".to_owned(), false), "no deploy without a backup");
}

#[test]
fn the_scripts_take_one_plain_word_and_no_snapshot_of_anything_else() {
    let world = World::new();
    let run =
        |name: &str, arguments: &str| world.step(&format!("/usr/local/sbin/{name} {arguments}"), &BTreeMap::new());
    for arguments in ["", "''", "a b", "'a b'", "'x --exclude y'", "'$(id)'", "a --repo", "'a/b'"] {
        run("bk-before-deploy", arguments).exits(2);
    }
    let id = run("bk-before-deploy", COMMIT).exits(0).stdout.trim().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    for arguments in
        ["", "''", "gitea", "latest", "--help", "'12345678 --files-only'", &format!("{id} --no-backup-first")]
    {
        run("bk-roll-back", arguments).exits(2);
    }
    let other = world.bench.folder("other");
    let said = world.bench.run(["--json", "backup", other.to_str().unwrap()]).exits(0);
    let other = said.json()["snapshot_id"].as_str().unwrap().to_owned();
    run("bk-roll-back", &other).exits(2).says("is not of gitea");
    run("bk-roll-back", &id).exits(0);
}

#[test]
fn without_jq_the_id_is_the_same() {
    let world = World::new();
    let start = README.find("Without `jq`").unwrap();
    let line = README[start..].lines().nth(1).unwrap().trim_start_matches('`').trim_end_matches(['`', '.']);
    assert!(line.starts_with("printf") && line.contains("sed -n"), "{line}");
    let script = blocks("sh")[0];
    let with_sed: String =
        script.lines().map(|text| if text.contains("jq") { line } else { text }).collect::<Vec<_>>().join("\n");
    assert_ne!(with_sed, script.trim_end());
    program(&world.bench.path("programs/by-sed"), &with_sed);
    let id = world.step(&format!("/usr/local/sbin/by-sed {COMMIT}"), &BTreeMap::new()).exits(0).stdout;
    assert_eq!(world.snapshots()[0]["id"].as_str(), Some(id.trim()));
}

#[test]
fn the_backup_demands_completeness_in_words_that_stand_in_one_place() {
    let all: String = blocks("sh").concat();
    assert_eq!(all.matches("--require complete").count(), 1);
}

/// Whether a program is here; tests/run installs what they need.
fn is_here(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok()
}

#[test]
fn every_piece_of_shell_passes_shellcheck() {
    if !is_here("shellcheck") {
        return trees::skipped("the shell of the steps", "there is no shellcheck");
    }
    let steps = ways().into_iter().flat_map(|(_, steps)| [steps.back_up, steps.deploy, steps.roll_back]);
    let scripts = blocks("sh").into_iter().map(str::to_owned).chain([recipe()]).chain(steps);
    for script in scripts {
        let mut check = Command::new("shellcheck");
        // The file is the runner's, not root's: that the redirection is not sudo's is what is meant.
        let mut child =
            check.args(["-s", "sh", "-e", "SC2024", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_rule_for_sudo_is_sound_and_names_no_program_with_free_arguments() {
    let rule = blocks("sudoers").remove(0);
    let programs: Vec<&str> = rule.split_once("NOPASSWD:").unwrap().1.split(',').map(str::trim).collect();
    assert_eq!(programs, ["/usr/local/sbin/bk-before-deploy", "/usr/local/sbin/bk-roll-back"]);
    let visudo = ["/usr/sbin/visudo", "visudo"].into_iter().find(|name| is_here(name));
    let Some(visudo) = visudo else { return trees::skipped("the rule for sudo", "there is no visudo") };
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("bk-deploy");
    std::fs::write(&file, rule).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o440)).unwrap();
    let output = Command::new(visudo).arg("-cf").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
