//! The units that bk writes are right for the real systemd, close off what they can, and come when bk says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bk::clock::Timestamp;
use bk::schedule::Schedule;
use jiff::tz::TimeZone;

/// A folder with a configuration.
struct Bench {
    folder: tempfile::TempDir,
}

const SIMPLE: &str = r#"
[family]
key-file = "/etc/bk/key"
[repository.ssd]
location = "/mnt/ssd/bk"
require-mount = "/mnt/ssd"
[schedule]
run = "30 2 * * *"
check = "0 5 * * 0"
[profile.wiki]
paths = ["/srv/wiki"]
sqlite = false
"#;

/// Everything that the units give way to, each by itself, with what is then missing from `bk.service`.
const OTHERS: [(&str, &str, &str); 9] = [
    (
        "a bucket",
        "[repository.b2]\nlocation = \"b2://bucket/x\"\nregion = \"r\"\ncredentials-file = \"/etc/bk/b2\"\n",
        "",
    ),
    ("live SQLite", "[profile.a]\nroot = \"/srv/a b%\"\n", ""),
    ("a home", "[repository.home]\nlocation = \"/home/backup/bk\"\n", "ProtectHome"),
    ("temporary files", "[profile.a]\nroot = \"/var/tmp/x\"\nsqlite = false\n", "PrivateTmp"),
    ("a database", "[profile.a]\nroot = \"/srv/a\"\n[[profile.a.database]]\nengine = \"postgres\"\nname = \"a\"\n", ""),
    (
        "a unit that is stopped",
        "[profile.a]\nroot = \"/srv/a\"\n[profile.a.quiesce]\nhow = \"stop\"\nunits = [\"a.service\"]\n",
        "",
    ),
    ("a service that is looked for", "[profile.a]\nuse = \"nextcloud\"\n", "ReadWritePaths"),
    (
        "a container",
        "[profile.a]\nroot = \"/srv/a\"\ncontainer = { name = \"a\", owner = \"svc\" }\n",
        "NoNewPrivileges",
    ),
    ("commands", "[[profile.wiki.before]]\nrun = [\"/usr/bin/true\"]\n", "CapabilityBoundingSet"),
];

/// What `systemd-analyze security` may say at most, in tenths: 100 is a service of which nothing is closed off.
const EXPOSED_AT_MOST: [(&str, u32); 6] =
    [("a bucket", 25), ("live SQLite", 27), ("a database", 31), ("a home", 29), ("temporary files", 28), ("", 25)];

impl Bench {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bk.toml"), config).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bk(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.folder.path());
        command.env("BK_HOOKS_DIR", self.path("hooks")).env("TZ", "UTC").current_dir(self.folder.path());
        command.args(["-c", "bk.toml"]).args(arguments).output().unwrap()
    }

    /// Runs and expects an exit code; gives what was printed, standard output first.
    fn expect(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.bk(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{out}\n{err}");
        (out, err)
    }

    /// Writes the units, and gives the text of one.
    fn unit(&self, name: &str, arguments: &[&str]) -> String {
        let folder = self.path("units");
        self.expect(0, &[&["systemd", "install", "--folder", folder.to_str().unwrap()], arguments].concat());
        std::fs::read_to_string(folder.join(name)).unwrap()
    }

    fn units(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("units")).unwrap();
        let mut units: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        units.sort();
        units
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn analyze(arguments: &[&str], paths: &[PathBuf]) -> Output {
    Command::new("systemd-analyze").env("TZ", "UTC").args(arguments).args(paths).output().expect("systemd is installed")
}

#[test]
fn the_folder_of_the_numbers_for_monitoring_is_written_and_a_check_tells_what_it_found() {
    let metrics = "[metrics]\ntextfile = \"/var/lib/prometheus/node-exporter/bk.prom\"\n";
    let bench = Bench::new(&format!("{SIMPLE}{metrics}"));
    for name in ["bk.service", "bk-check.service", "bk-failed@.service"] {
        let unit = bench.unit(name, &[]);
        let line = unit.lines().find(|line| line.starts_with("ReadWritePaths=")).unwrap();
        assert!(line.contains("-/var/lib/prometheus/node-exporter"), "{name}: {line}");
    }
    assert!(bench.unit("bk-check.service", &[]).contains("check --due --notify\n"), "damage is told");
}

/// The directives that a unit sets.
fn directives(unit: &str) -> BTreeSet<&str> {
    unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.split_once('=')?.0)).collect()
}

#[test]
fn the_units_of_a_simple_configuration_are_these() {
    let bench = Bench::new(SIMPLE);
    let service = bench.unit("bk.service", &["--systemd-version", "252"]);
    let (program, config) = (env!("CARGO_BIN_EXE_bk"), bench.path("bk.toml"));
    let plain = |text: &str| text.replace(program, "/usr/bin/bk").replace(config.to_str().unwrap(), "/etc/bk/bk.toml");
    let golden = |name: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/systemd").join(name)).unwrap()
    };
    if !is_root() {
        return;
    }
    assert_eq!(plain(&service), golden("bk.service"));
    for name in
        ["bk.timer", "bk-check.service", "bk-check.timer", "bk-verify.service", "bk-verify.timer", "bk-failed@.service"]
    {
        let unit = plain(&std::fs::read_to_string(bench.path("units").join(name)).unwrap());
        assert_eq!(unit, golden(name), "{name}");
    }
    assert_eq!(bench.units().len(), 7);
}

/// The tests are run by root; other users have units of their own kind.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn systemd_finds_nothing_wrong_in_the_units_of_any_configuration() {
    for (what, more, _) in [("", "", "")].into_iter().chain(OTHERS) {
        let bench = Bench::new(&format!("{SIMPLE}{more}"));
        bench.unit("bk.service", &[]);
        // The one of a failure is named by what failed.
        let mut units = bench.units();
        let template = units.iter().position(|path| path.ends_with("bk-failed@.service")).unwrap();
        let instance = bench.path("units/bk-failed@bk.service.service");
        std::fs::copy(&units[template], &instance).unwrap();
        units.push(instance);
        let output = analyze(&["verify", "--man=no"], &units);
        let said = text(&output.stderr);
        assert!(output.status.success() && !said.contains("bk"), "{what}: {said}");
    }
}

#[test]
fn the_services_are_closed_off_as_far_as_the_configuration_allows() {
    for (what, more, missing) in [("", "", "")].into_iter().chain(OTHERS) {
        let bench = Bench::new(&format!("{SIMPLE}{more}"));
        let unit = bench.unit("bk.service", &[]);
        let set = directives(&unit);
        if is_root() {
            assert!(missing.is_empty() || !set.contains(missing), "{what}: {missing}\n{unit}");
        }
        if let Some((_, limit)) = EXPOSED_AT_MOST.iter().find(|(known, _)| *known == what).filter(|_| is_root()) {
            let threshold = format!("--threshold={limit}");
            let output = analyze(&["security", "--offline=true", &threshold], &[bench.path("units/bk.service")]);
            assert!(output.status.success(), "{what}: {}", text(&output.stdout).lines().last().unwrap());
        }
    }
}

#[test]
fn what_is_not_closed_off_is_explained_in_the_unit() {
    if !is_root() {
        return;
    }
    let cases = [
        ("commands", "[profile.wiki] has commands of yours around its run"),
        ("a container", "[profile.a] reaches into a container of podman"),
        ("a home", "No ProtectHome=: something below /home or /root is written"),
        ("temporary files", "No PrivateTmp=: something that is backed up or written lies in /tmp or /var/tmp"),
        ("a service that is looked for", "where [profile.a] keeps its data is only known when it runs"),
        ("a unit that is stopped", "SYS_ADMIN: systemd asks for it before it stops"),
        ("live SQLite", "\"-/srv/a b%%\""),
    ];
    for (what, expected) in cases {
        let (_, more, _) = OTHERS.iter().find(|(known, ..)| *known == what).unwrap();
        let bench = Bench::new(&format!("{SIMPLE}{more}"));
        let unit = bench.unit("bk.service", &[]).replace("\n# ", " ");
        assert!(unit.contains(expected), "{what}\n{unit}");
        // Its check runs nothing of it.
        let check = std::fs::read_to_string(bench.path("units/bk-check.service")).unwrap();
        assert!(check.contains("CapabilityBoundingSet="), "{what}");
    }
}

#[test]
fn an_older_systemd_gets_only_what_it_knows() {
    let bench = Bench::new(SIMPLE);
    let of = |version: &str| bench.unit("bk.service", &["--systemd-version", version]);
    if !is_root() {
        return;
    }
    let (old, new) = (of("232"), of("256"));
    let missing: BTreeSet<&str> = directives(&new).difference(&directives(&old)).copied().collect();
    for name in ["LoadCredential", "ProtectClock", "StateDirectory", "SystemCallFilter", "RestrictNamespaces"] {
        assert!(missing.contains(name), "{name}: {missing:?}");
    }
    assert!(old.contains("-/var/lib/bk"), "{old}");
    assert!(of("230").contains("ProtectSystem=full"));
}

#[test]
fn a_unit_that_bk_did_not_write_is_neither_replaced_nor_removed() {
    let bench = Bench::new(SIMPLE);
    std::fs::create_dir(bench.path("units")).unwrap();
    std::fs::write(bench.path("units/bk-check.timer"), "[Timer]\nOnCalendar=daily\n").unwrap();
    let folder = bench.path("units");
    let folder = folder.to_str().unwrap();
    let (_, err) = bench.expect(1, &["systemd", "install", "--folder", folder]);
    assert!(err.contains("bk-check.timer was not written by bk") && err.contains("hint:"), "{err}");
    assert_eq!(bench.units().len(), 1, "nothing was written");
    let (out, err) = bench.expect(0, &["systemd", "remove", "--folder", folder]);
    assert!(out.contains("there are no units of bk in") && err.contains("stays"), "{out}{err}");
    assert_eq!(bench.units().len(), 1);
}

#[test]
fn what_is_not_scheduled_any_more_goes_with_the_next_install_and_all_with_remove() {
    let bench = Bench::new(SIMPLE);
    let folder = bench.path("units");
    let folder = folder.to_str().unwrap();
    let (out, _) = bench.expect(0, &["systemd", "install", "--folder", folder]);
    assert!(out.contains("to start the timers: `systemctl"), "{out}");
    assert_eq!(bench.units().len(), 7);
    std::fs::write(bench.path("bk.toml"), SIMPLE.replace("check = ", "# ")).unwrap();
    let (out, _) = bench.expect(0, &["systemd", "install", "--folder", folder]);
    assert!(out.contains("removed") && !bench.path("units/bk-check.timer").exists(), "{out}");
    assert_eq!(bench.units().len(), 3);
    std::fs::write(bench.path("units/other.service"), "[Service]\n").unwrap();
    // Whatever has become of the configuration.
    std::fs::write(bench.path("bk.toml"), "nonsense").unwrap();
    bench.expect(0, &["systemd", "remove", "--folder", folder]);
    assert_eq!(bench.units(), [bench.path("units/other.service")]);
}

#[test]
fn without_a_schedule_nothing_is_written_and_the_hint_says_what_to_add() {
    let bench = Bench::new("[profile.wiki]\nroot = \"/srv/wiki\"\nschedule = \"never\"\n");
    let (_, err) = bench.expect(2, &["systemd", "install", "--folder", "units"]);
    for line in ["nothing is scheduled", "[schedule]", "run = \"30 1 * * *\"", "check = \"0 5 * * 0\""] {
        assert!(err.contains(line), "{err}");
    }
    assert!(!bench.path("units").exists());
}

#[test]
fn times_of_profiles_are_in_the_one_timer_each_with_its_line() {
    let more = "[profile.games]\nroot = \"/srv/games\"\nschedule = \"0 4 1 * 6\"\n\
                [profile.hand]\nroot = \"/srv/hand\"\nschedule = \"never\"\n";
    let config = SIMPLE.replace("check =", "time-zone = \"Europe/Berlin\"\njitter = \"90min\"\ncheck =");
    let bench = Bench::new(&format!("{config}{more}"));
    let timer = bench.unit("bk.timer", &[]);
    let times: Vec<&str> = timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).collect();
    let expected =
        ["*-*-* 02:30:00", "*-*-01 04:00:00", "Sat *-*-* 04:00:00"].map(|one| format!("{one} Europe/Berlin"));
    assert_eq!(times, expected);
    assert!(timer.contains("RandomizedDelaySec=90min\n") && timer.contains("Persistent=true\n"), "{timer}");
}

#[test]
fn units_of_a_user_have_nothing_that_only_root_may() {
    let bench = Bench::new(SIMPLE);
    let unit = bench.unit("bk.service", &["--user"]);
    for name in ["ProtectSystem", "PrivateTmp", "CapabilityBoundingSet", "StateDirectory", "LoadCredential", "After"] {
        assert!(!directives(&unit).contains(name), "{unit}");
    }
    assert!(unit.contains("NoNewPrivileges=yes"));
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--user", "--man=no"]).args(bench.units()).env("XDG_RUNTIME_DIR", bench.folder.path());
    let output = verify.output().expect("systemd is installed");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// When systemd says that an event comes, in seconds since 1970.
fn elapses(event: &str, after: i64, count: usize) -> Vec<i64> {
    let base = format!("--base-time=@{after}");
    let iterations = format!("--iterations={count}");
    let output = analyze(&["calendar", &base, &iterations, event], &[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{event}: {}", text(&output.stderr));
    let time = |line: &str| {
        let line = line.trim_start();
        let (name, time) = line.split_once(": ")?;
        let time = time.trim().strip_suffix(" UTC").filter(|_| name == "Next elapse" || name.starts_with("Iter."))?;
        let time: jiff::civil::DateTime = time.split_once(' ')?.1.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second())
    };
    said.lines().filter_map(time).collect()
}

#[test]
fn the_calendar_events_come_when_the_schedule_does() {
    const COUNT: usize = 8;
    // 1 June 2026: no clock is changed before the comparison ends, since systemd and bk treat that differently.
    let after = 1_780_272_000;
    let lines = [
        "30 2 * * *",
        "*/20 8-18/5 * * *",
        "@hourly",
        "@daily",
        "@weekly",
        "0 5 * * 0",
        "0 5 * * 7",
        "0 5 * * 5-7",
        "0 5 * * sat-sun",
        "0 5 * * 1,3,5",
        "0 5 1,15 * *",
        "0 5 1,15 * fri",
        "0 5 */3 * mon",
        "7,8,9,10 0 31 * *",
        "0 5 1 6-8 *",
        "59 23 * jun sun,mon",
    ];
    for line in lines {
        let schedule = Schedule::parse(line).unwrap();
        for zone in ["UTC", "Europe/Berlin", "Asia/Kathmandu"] {
            let events = schedule.on_calendar(Some(zone));
            let mut theirs: Vec<i64> = events.iter().flat_map(|event| elapses(event, after, COUNT)).collect();
            theirs.sort_unstable();
            theirs.dedup();
            let zone = TimeZone::get(zone).unwrap();
            let mut time = Timestamp { seconds: after, nanos: 0 };
            let next = || {
                time = schedule.next_after(time, &zone)?;
                Some(time.seconds)
            };
            let autumn = 1_792_800_000;
            let ours: Vec<i64> = std::iter::from_fn(next).take(COUNT).take_while(|one| *one < autumn).collect();
            assert!(ours.len() > 1, "{line}");
            assert_eq!(ours, theirs[..ours.len()], "{line} {events:?}");
        }
    }
}

#[test]
fn the_lines_for_cron_are_five_fields_a_user_and_a_command_that_a_shell_reads() {
    let config = SIMPLE.replace("check =", "jitter = \"10min\"\nio = \"idle\"\ncheck =");
    let bench = Bench::new(&format!("{config}[profile.x]\nroot = \"/srv/x\"\nschedule = \"0 4 * * sat-sun\"\n"));
    std::fs::rename(bench.path("bk.toml"), bench.path("50% bk.toml")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bk"))
        .args(["-c", "50% bk.toml", "systemd", "show", "--cron"])
        .current_dir(bench.folder.path())
        .env_remove("BK_DATA_DIR")
        .output()
        .unwrap();
    let said = text(&output.stdout);
    let jobs: Vec<&str> = said.lines().filter(|line| line.starts_with(|one: char| one.is_ascii_digit())).collect();
    assert_eq!(jobs.len(), 4, "{said}{}", text(&output.stderr));
    for job in jobs {
        let fields: Vec<&str> = job.splitn(7, ' ').collect();
        assert!(Schedule::parse(&fields[..5].join(" ")).is_ok(), "{job}");
        let command = if is_root() {
            assert_eq!(fields[5], "root");
            fields[6].to_owned()
        } else {
            fields[5..].join(" ")
        };
        // To cron an unescaped `%` ends the command.
        assert!(!command.replace("\\%", "").contains('%') && command.contains("\\%"), "{command}");
        let shell = command.replace("\\%", "%");
        assert!(shell.starts_with("sleep \"$(shuf -n 1 -i 0-600)\"; nice -n 10 ionice -c 3 "), "{shell}");
        // All but the pause, and what is run is only named.
        let (_, named) = shell.split_once("; nice -n 10 ionice -c 3 ").unwrap();
        let printed = Command::new("sh").args(["-c", &format!("printf '%s\\n' {named}")]).output().unwrap();
        let words: Vec<String> = text(&printed.stdout).lines().map(str::to_owned).collect();
        assert_eq!(words[1..3], ["-c".to_owned(), bench.path("50% bk.toml").display().to_string()]);
    }
    assert!(said.contains("\n0 4 * * 0,6 "), "{said}");
}

#[test]
fn nix_reads_the_module_for_nixos() {
    for (what, more, _) in [("", "", "")].into_iter().chain(OTHERS) {
        let more = format!("{more}[profile.two]\nroot = \"/srv/${{two}}\"\nschedule = \"0 4 1 * 6\"\n");
        let bench = Bench::new(&format!("{SIMPLE}{more}"));
        let (module, _) = bench.expect(0, &["systemd", "show", "--nixos"]);
        std::fs::write(bench.path("bk.nix"), &module).unwrap();
        let output = Command::new("nix-instantiate")
            .arg("--parse")
            .arg(bench.path("bk.nix"))
            .env("NIX_STATE_DIR", bench.path("state"))
            .env("NIX_STORE_DIR", bench.path("store"))
            .output()
            .expect("nix-bin is installed");
        assert!(output.status.success(), "{what}: {}\n{module}", text(&output.stderr));
        assert!(
            module.contains("systemd.services.\"bk\"") && module.contains("systemd.timers.\"bk-check\""),
            "{module}"
        );
        assert!(module.contains("OnCalendar = [ "), "{module}");
    }
}

#[test]
fn the_validation_of_the_configuration_remarks_on_hours_in_which_the_clock_is_changed() {
    let bench = Bench::new(&SIMPLE.replace("check =", "time-zone = \"Europe/Berlin\"\ncheck ="));
    let (out, _) = bench.expect(0, &["config", "validate"]);
    assert!(out.contains("bk.toml:8: remark: `30 2 * * *` is in an hour in which the clock is changed"), "{out}");
    assert!(out.contains("it comes at 03:00") && out.contains("twice on "), "{out}");
}

#[test]
fn the_lines_of_the_readme_are_all_that_it_takes() {
    let readme = include_str!("../README.md");
    let section = &readme[readme.find("### Every night").unwrap()..];
    let toml = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let said = section.split("$ bk systemd install\n").nth(1).unwrap().split("```").next().unwrap();
    let bench = Bench::new(&format!("{toml}[profile.wiki]\nroot = \"/srv/wiki\"\n"));
    let folder = bench.path("units");
    let (out, _) = bench.expect(0, &["systemd", "install", "--folder", folder.to_str().unwrap()]);
    let wrote: Vec<String> = out
        .lines()
        .filter(|line| line.starts_with("wrote "))
        .map(|line| line.replace(folder.to_str().unwrap(), ""))
        .collect();
    let expected: Vec<String> = said
        .lines()
        .filter(|line| line.starts_with("wrote "))
        .map(|line| line.replace("/etc/systemd/system", ""))
        .collect();
    assert_eq!(wrote, expected, "{out}");
    for (line, time) in [("30 1 * * *", "2026-03-02 01:30:00"), ("0 5 * * 0", "2026-03-08 05:00:00")] {
        // Sunday, 1 March 2026, in the afternoon.
        let after = Timestamp { seconds: 1_772_377_200, nanos: 0 };
        let next = Schedule::parse(line).unwrap().next_after(after, &TimeZone::UTC).unwrap();
        let next = jiff::Timestamp::from_second(next.seconds).unwrap().to_zoned(TimeZone::UTC);
        assert!(toml.contains(line) && said.contains(time));
        assert_eq!(next.strftime("%F %T").to_string(), time);
    }
}
