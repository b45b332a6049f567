//! The services and timers of a configuration.

use std::time::Duration;

use super::Setting;
use super::needs::{Needs, Work};
use super::unit::{Section, Unit, argument, word};
use crate::profile::{Config, Every, IoClass};
use crate::schedule::Schedule;

/// Every unit that the configuration asks for.
pub(super) fn units(config: &Config, setting: &Setting) -> Vec<Unit> {
    let run = config.run_schedules();
    let mut units = Vec::new();
    if !run.is_empty() {
        units.push(service("bk.service", "Backups with bk", Work::Run, config, setting));
        units.push(timer("bk.timer", "When bk backs up", &run, config, setting));
    }
    if let Some(check) = &config.schedule.check {
        units.push(service("bk-check.service", "Check of the repositories of bk", Work::Check, config, setting));
        units.push(timer("bk-check.timer", "When bk checks its repositories", &[check], config, setting));
    }
    if let Some(verify) = verify_schedule(config) {
        units.push(service("bk-verify.service", "Proof that the backups of bk restore", Work::Verify, config, setting));
        units.push(timer("bk-verify.timer", "When bk proves that its backups restore", &[verify], config, setting));
    }
    if !units.is_empty() {
        units.push(service("bk-failed@.service", "Word of the failure of %i", Work::Failed, config, setting));
    }
    units
}

/// What is due is verified when the repositories are checked, unless every profile says `never`.
pub(super) fn verify_schedule(config: &Config) -> Option<&Schedule> {
    let is_due = |name: &String| config.verify(name).every != Every::Never;
    config.schedule.check.as_ref().filter(|_| config.profiles.keys().any(is_due))
}

fn timer(name: &'static str, about: &str, times: &[&Schedule], config: &Config, setting: &Setting) -> Unit {
    let mut unit = Section::new("Unit", setting.version);
    unit.set("Description", about);
    let mut timer = Section::new("Timer", setting.version);
    for schedule in times {
        timer.say(format!("`{}`", schedule.text()));
        for event in schedule.on_calendar(config.schedule.zone.as_deref()) {
            timer.set("OnCalendar", event);
        }
    }
    timer.say("What was missed while the machine was off is made up for.").set("Persistent", "true");
    timer.set_if(config.schedule.jitter > Duration::ZERO, "RandomizedDelaySec", seconds(config.schedule.jitter));
    timer.set("AccuracySec", "1min");
    let mut install = Section::new("Install", setting.version);
    install.set("WantedBy", "timers.target");
    Unit { name, sections: vec![unit, timer, install] }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        secs if secs % 3600 == 0 => format!("{}h", secs / 3600),
        secs if secs % 60 == 0 => format!("{}min", secs / 60),
        secs => format!("{secs}s"),
    }
}

fn service(name: &'static str, about: &str, work: Work, config: &Config, setting: &Setting) -> Unit {
    let needs = Needs::of(config, work, setting);
    let mut unit = Section::new("Unit", setting.version);
    unit.set("Description", about).set("Documentation", "man:bk(1) man:bk.toml(5)");
    unit.set_if(work != Work::Failed, "OnFailure", "bk-failed@%n.service");
    // Others than root have no such target.
    if !setting.user && (needs.remote || work == Work::Failed) {
        unit.set("Wants", "network-online.target").set("After", "network-online.target");
    }
    // Both have the same times: what is damaged is said before anything is restored from it.
    unit.set_if(work == Work::Verify, "After", "bk-check.service");
    if needs.local && work != Work::Failed {
        unit.say(
            "No RequiresMountsFor=: a backup disk that is away must not keep bk from starting, since it backs up to the \
             others and says which one is behind.",
        );
    }
    let mut service = Section::new("Service", setting.version);
    service.set("Type", "oneshot").set("ExecStart", command_line(work, setting));
    manners(&mut service, work, config);
    surroundings(&mut service, &needs, work, config, setting);
    if setting.user {
        close_off_user(&mut service, &needs);
    } else {
        close_off(&mut service, &needs, setting);
    }
    Unit { name, sections: vec![unit, service] }
}

/// Program and arguments of the work, as they are.
pub(super) fn command(work: Work, setting: &Setting) -> Vec<String> {
    let mut words = vec![setting.program.display().to_string()];
    if let Some(file) = &setting.config_file {
        words.extend(["-c".to_owned(), file.display().to_string()]);
    }
    let rest: &[&str] = match work {
        Work::Run => &["run"],
        Work::Verify => &["verify", "--due", "--notify"],
        Work::Check => &["check", "--due", "--notify"],
        Work::Failed => &["status", "--notify", "--unit"],
    };
    words.extend(rest.iter().map(|word| (*word).to_owned()));
    words
}

fn command_line(work: Work, setting: &Setting) -> String {
    let mut words: Vec<String> = command(work, setting).iter().map(|word| argument(word)).collect();
    if work == Work::Failed {
        words.push("%i".to_owned());
    }
    words.join(" ")
}

/// Not to be in the way of others, and to be let end in peace.
fn manners(service: &mut Section, work: Work, config: &Config) {
    service.set_if(config.schedule.nice > 0, "Nice", config.schedule.nice.to_string());
    match config.schedule.io {
        IoClass::Idle => service.set("IOSchedulingClass", "idle"),
        IoClass::Low => service.set("IOSchedulingClass", "best-effort").set("IOSchedulingPriority", "7"),
        IoClass::Normal => service,
    };
    service.set("OOMScoreAdjust", "500").set("MemoryHigh", "50%");
    if work == Work::Failed {
        service.set("TimeoutStartSec", "10min");
    } else {
        service.say("The first backup may take days; a stop waits for what sets services going again.");
        service.set("TimeoutStartSec", "infinity").set("TimeoutStopSec", "15min");
    }
    service.set("KillMode", "mixed").set("UMask", "0077");
}

/// Where the key, the state and the copies are.
fn surroundings(service: &mut Section, needs: &Needs, work: Work, config: &Config, setting: &Setting) {
    if let Some(data) = &setting.data {
        service.set("Environment", word(&format!("BK_DATA_DIR={}", data.display())));
    }
    if needs.home
        && !setting.user
        && let Some(home) = &setting.home
    {
        service.say("`aws-profile` is a section of a file in the home folder.");
        service.set("Environment", word(&format!("HOME={}", home.display())));
    }
    if setting.user {
        return;
    }
    service.set_if(setting.data.is_none(), "StateDirectory", "bk");
    service.set_if(setting.data.is_none(), "StateDirectoryMode", "0700");
    service.set("CacheDirectory", "bk").set("CacheDirectoryMode", "0700");
    // Without the key a unit does not start; word of just that must get out.
    let handed_over = work != Work::Failed && service.knows("LoadCredential");
    if let Some(key) = config.family.key_file.as_ref().filter(|_| handed_over) {
        service.set("LoadCredential", word(&format!("bk-key:{}", key.display())));
        service.set("Environment", "BK_KEY_FILE=%d/bk-key");
    }
}

/// What needs neither root nor a file system of its own.
fn close_off_user(service: &mut Section, needs: &Needs) {
    service.say("Of what closes a service off, these are what the systemd of a user can do.");
    close_off_calls(service, needs);
}

/// Everything is closed off but what the configuration needs.
fn close_off(service: &mut Section, needs: &Needs, setting: &Setting) {
    if !needs.open.is_empty() {
        service.say(format!(
            "Nothing is closed off: {}. What that needs, bk cannot know; close off more with `systemctl edit`.",
            needs.open.join("; ")
        ));
        service.set("RestrictRealtime", "yes");
        return;
    }
    file_systems(service, needs, setting);
    let (tmp, devices) = (needs.touches("/tmp") || needs.touches("/var/tmp"), needs.touches("/dev"));
    if tmp {
        service.say("No PrivateTmp=: something that is backed up or written lies in /tmp or /var/tmp.");
    }
    service.set_if(!tmp, "PrivateTmp", "yes");
    service.set_if(!devices, "PrivateDevices", "yes");
    for key in ["ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups"] {
        service.set(key, "yes");
    }
    service.set("ProtectClock", "yes").set("ProtectHostname", "yes").set("RemoveIPC", "yes");
    close_off_calls(service, needs);
    capabilities(service, needs);
}

fn file_systems(service: &mut Section, needs: &Needs, setting: &Setting) {
    let mut writable: Vec<String> = needs.writable.iter().map(|path| path.display().to_string()).collect();
    if !service.knows("StateDirectory") {
        writable.extend(["/var/lib/bk".to_owned(), "/var/cache/bk".to_owned()]);
    }
    if needs.loose.is_empty() && service.knows("ReadWritePaths") {
        if needs.sqlite {
            service
                .say("Data folders are written too: SQLite keeps files beside a database, also while it only reads.");
        }
        service.set("ProtectSystem", "strict");
        let words: Vec<String> = writable.iter().map(|path| word(&format!("-{path}"))).collect();
        service.set_if(!words.is_empty(), "ReadWritePaths", words.join(" "));
    } else {
        let why = needs.loose.join("; ");
        let text = format!("Only the folders of the system are read-only: {why}.");
        let text =
            if why.is_empty() { "Older systemd: only the folders of the system are read-only.".into() } else { text };
        service.say(text).set("ProtectSystem", if setting.version < 214 { "yes" } else { "full" });
    }
    let home = ["/home", "/root", "/run/user"].iter().any(|home| needs.writes_below(home));
    if home || !needs.loose.is_empty() {
        service.say("No ProtectHome=: something below /home or /root is written, or may be.");
    } else {
        service.set("ProtectHome", "read-only");
    }
}

/// What works through filters of system calls.
fn close_off_calls(service: &mut Section, needs: &Needs) {
    if !needs.open.is_empty() {
        service.say(format!("Not those that could be in the way: {}.", needs.open.join("; ")));
        service.set("RestrictRealtime", "yes");
        return;
    }
    service.set("NoNewPrivileges", "yes").set("LockPersonality", "yes").set("RestrictRealtime", "yes");
    service.set("RestrictSUIDSGID", "yes").set("RestrictNamespaces", "yes");
    if needs.loose.is_empty() {
        service.set("MemoryDenyWriteExecute", "yes");
    } else {
        service.say("No MemoryDenyWriteExecute=: programs of a service may translate their code while they run.");
    }
    // Netlink: the addresses of this machine are looked at before a name is looked up, and sessions are audited.
    service.set("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK");
    service.set("SystemCallArchitectures", "native");
    if service.knows("SystemCallFilter") {
        service.set("SystemCallFilter", "@system-service").set("SystemCallErrorNumber", "EPERM");
    }
}

/// The least of root's rights.
fn capabilities(service: &mut Section, needs: &Needs) {
    let mut all = vec!["CAP_DAC_READ_SEARCH", "CAP_FOWNER"];
    service.say("DAC_READ_SEARCH reads everything, FOWNER does so without changing when it was read last.");
    if needs.local || needs.sqlite || !needs.loose.is_empty() {
        service.say(
            "DAC_OVERRIDE writes where others own the folder: a repository, or what SQLite keeps beside databases.",
        );
        all.push("CAP_DAC_OVERRIDE");
    }
    if needs.sqlite || !needs.loose.is_empty() {
        service.say("CHOWN: SQLite gives such a file to the owner of the database.");
        all.push("CAP_CHOWN");
    }
    if needs.other_users {
        service.say("SETUID, SETGID, KILL and AUDIT_WRITE: a hook runs the tools of a service as its own user.");
        all.extend(["CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_AUDIT_WRITE"]);
    }
    if needs.stops_units {
        service.say("SYS_ADMIN: systemd asks for it before it stops and starts a unit for somebody.");
        all.push("CAP_SYS_ADMIN");
    } else {
        service.say("Without SYS_ADMIN, extended attributes called trusted.* are not seen.");
    }
    service.set("CapabilityBoundingSet", all.join(" "));
}
