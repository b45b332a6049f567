//! `[schedule]`, and `schedule` of a profile: when bk has work, and how much it may be in the way.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Table};

use super::config::{Config, Level, Profile, Repository, Warning};
use super::error::ConfigError;
use super::raw::Typed;
use super::scope::{Problem, Scope, unknown_repository};
use crate::clock::Timestamp;
use crate::retention::Span;
use crate::schedule::{Schedule, Shift};
use crate::store::Format;

/// A longer delay would reach into the next working day.
const MOST_JITTER: Duration = Duration::from_secs(12 * 3600);

/// So far ahead is looked for changes of the clock, in seconds.
const YEAR: i64 = 366 * 86400;

/// The word for a profile that is run by hand only.
const NEVER: &str = "never";

/// How a run shares the disks with everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoClass {
    /// Only when nobody else wants the disk.
    Idle,
    /// After others.
    #[default]
    Low,
    /// As others.
    Normal,
}

impl IoClass {
    const ALL: [Self; 3] = [Self::Idle, Self::Low, Self::Normal];

    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Low => "low",
            Self::Normal => "normal",
        }
    }
}

/// When bk has work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// When profiles are run that have no times of their own.
    pub run: Option<Schedule>,
    /// When the repositories are checked.
    pub check: Option<Schedule>,
    /// What such a check promises, by the name of the repository; of the others it reads no packs.
    pub promises: BTreeMap<String, CheckPromise>,
    /// Name of the time zone of all times, such as `Europe/Berlin`; that of the machine when not said.
    pub zone: Option<String>,
    /// Each start is put off by a random time up to this.
    pub jitter: Duration,
    /// How much other programs go first, 0 to 19, as for nice(1).
    pub nice: u8,
    /// How the disks are shared.
    pub io: IoClass,
}

impl Default for Timetable {
    fn default() -> Self {
        let promises = BTreeMap::new();
        Self { run: None, check: None, promises, zone: None, jitter: Duration::ZERO, nice: 10, io: IoClass::default() }
    }
}

/// When a profile is run, when it says so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileSchedule {
    /// By hand only.
    Never,
    /// At these times.
    At(Schedule),
}

/// How much of a repository the checks that are due read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckPromise {
    /// Everything outside packs, and whether the packs are there.
    Structure,
    /// Besides, every pack at least once in such a time.
    Whole(Span),
}

/// How a promise begins.
const WHOLE: &str = "whole in ";
/// The word for a check that reads no packs.
const STRUCTURE: &str = "structure";

impl CheckPromise {
    fn parse(text: &str) -> Result<Self, Problem> {
        let hint = "write for example \"whole in 30d\", or \"structure\" when packs need not be read";
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words == STRUCTURE {
            return Ok(Self::Structure);
        }
        let Some(span) = words.strip_prefix(WHOLE) else {
            return Err((format!("is `{text}`, which promises nothing"), hint));
        };
        match span.parse::<Span>() {
            Ok(span) if span.nominal_seconds() >= 86_400 => Ok(Self::Whole(span)),
            Ok(_) => Err((format!("is `{text}`, which is less than a day"), "write at least \"whole in 1d\"")),
            Err(error) => Err((format!("cannot be used: {error}"), hint)),
        }
    }

    /// As the configuration writes it.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Structure => STRUCTURE.to_owned(),
            Self::Whole(span) => format!("{WHOLE}{span}"),
        }
    }

    /// Within how many seconds every pack is read; `None` when none is. A month has 30 days and a year 365.
    #[must_use]
    pub fn seconds(self) -> Option<i64> {
        match self {
            Self::Structure => None,
            Self::Whole(span) => i64::try_from(span.nominal_seconds()).ok(),
        }
    }
}

/// A time by itself, or in a table beside what is promised of each repository.
#[derive(Debug, Clone)]
pub(super) struct RawCheck {
    pub at: String,
    pub promises: BTreeMap<String, Spanned<String>>,
}

impl<'de> Deserialize<'de> for RawCheck {
    /// By hand: serde loses the lines of what is in one shape out of two.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawCheck;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a schedule, or a table with it as `at`")
            }

            fn visit_str<E>(self, at: &str) -> Result<RawCheck, E> {
                Ok(RawCheck { at: at.to_owned(), promises: BTreeMap::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawCheck, A::Error> {
                let (mut at, mut promises) = (None, BTreeMap::new());
                while let Some((key, value)) = map.next_entry::<String, Spanned<String>>()? {
                    if key == "at" {
                        at = Some(value.into_inner());
                    } else {
                        promises.insert(key, value);
                    }
                }
                Ok(RawCheck { at: at.ok_or_else(|| A::Error::missing_field("at"))?, promises })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawSchedule {
    pub run: Typed<String>,
    pub check: Typed<RawCheck>,
    pub time_zone: Typed<String>,
    pub jitter: Typed<String>,
    pub nice: Typed<u8>,
    pub io: Typed<String>,
}

/// A time such as `10min`, or none at all.
pub(super) fn delay(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(span).ok()
}

fn schedule(text: &str) -> Result<Schedule, Problem> {
    Schedule::parse(text).map_err(|error| (format!("cannot be used: {error}"), error.hint()))
}

pub(super) fn read_schedule(raw: &RawSchedule, into: &mut Timetable, scope: &mut Scope<'_>) -> Result<(), ConfigError> {
    if let Some(typed) = &raw.run {
        scope.claim("run", typed.span())?;
        let run = schedule(typed.get_ref());
        into.run = Some(run.map_err(|problem| scope.wrong("run", typed.span(), problem))?);
    }
    if let Some(typed) = &raw.check {
        scope.claim("check", typed.span())?;
        let check = schedule(&typed.get_ref().at);
        into.check = Some(check.map_err(|problem| scope.wrong("check", typed.span(), problem))?);
    }
    if let Some(typed) = &raw.time_zone {
        scope.claim("time-zone", typed.span())?;
        into.zone = Some(zone(typed).map_err(|problem| scope.wrong("time-zone", typed.span(), problem))?);
    }
    if let Some(jitter) = scope.value("jitter", &raw.jitter)?.as_deref().and_then(delay) {
        into.jitter = jitter;
    }
    if let Some(typed) = raw.jitter.as_ref().filter(|_| into.jitter > MOST_JITTER) {
        let problem = (format!("is `{}`, which is more than 12 hours", typed.get_ref()), "write at most \"12h\"");
        return Err(scope.wrong("jitter", typed.span(), problem));
    }
    if let Some(nice) = scope.value("nice", &raw.nice)? {
        into.nice = nice;
    }
    if let Some(word) = scope.value("io", &raw.io)? {
        into.io = IoClass::ALL.into_iter().find(|class| class.word() == word).unwrap_or_default();
    }
    Ok(())
}

/// Which packs were read is noted in repositories of our own only.
fn possible(promise: CheckPromise, repository: &Repository) -> Result<CheckPromise, Problem> {
    if promise == CheckPromise::Structure || repository.format == Format::Bk {
        return Ok(promise);
    }
    let hint = "write \"structure\", or remove it; `bk --repo NAME check --read-data` reads all of it";
    Err(("cannot be promised of a repository in restic's format, in which nothing is noted".to_owned(), hint))
}

/// What is promised of each repository of `known`.
pub(super) fn read_promises(
    raw: &RawSchedule,
    known: &BTreeMap<String, Repository>,
    scope: &mut Scope<'_>,
) -> Result<BTreeMap<String, CheckPromise>, ConfigError> {
    let mut promises = BTreeMap::new();
    for (name, typed) in raw.check.iter().flat_map(|check| &check.get_ref().promises) {
        scope.claim(name, typed.span())?;
        let promise = match known.get(name) {
            Some(repository) => CheckPromise::parse(typed.get_ref()).and_then(|promise| possible(promise, repository)),
            None => Err(unknown_repository(name, known.keys())),
        };
        promises.insert(name.clone(), promise.map_err(|problem| scope.wrong(name, typed.span(), problem))?);
    }
    Ok(promises)
}

/// The name of a time zone that this machine knows, with a `/` or `UTC`: short names such as `CET` mean many things.
fn zone(typed: &Spanned<String>) -> Result<String, Problem> {
    let name = typed.get_ref();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
    let known = plain && (name.contains('/') || name == "UTC") && TimeZone::get(name).is_ok();
    let hint = "write a name such as \"Europe/Berlin\" or \"UTC\"; `timedatectl list-timezones` prints them all";
    if known { Ok(name.clone()) } else { Err((format!("is `{name}`, which is no time zone that is known here"), hint)) }
}

pub(super) fn read_profile_schedule(
    typed: &Typed<String>,
    scope: &mut Scope<'_>,
) -> Result<Option<ProfileSchedule>, ConfigError> {
    let Some(typed) = typed else { return Ok(None) };
    scope.claim("schedule", typed.span())?;
    if typed.get_ref().trim() == NEVER {
        return Ok(Some(ProfileSchedule::Never));
    }
    let at = schedule(typed.get_ref()).map_err(|problem| scope.wrong("schedule", typed.span(), problem))?;
    Ok(Some(ProfileSchedule::At(at)))
}

impl ProfileSchedule {
    /// As the configuration writes it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Never => NEVER,
            Self::At(schedule) => schedule.text(),
        }
    }
}

impl Timetable {
    /// The section written down again; `None` when nothing was said.
    pub(super) fn table(&self) -> Option<Table> {
        let mut table = Table::new();
        let mut put = |key: &str, value: toml::Value| drop(table.insert(key.to_owned(), value));
        if let Some(run) = &self.run {
            put("run", run.text().into());
        }
        if let Some(check) = &self.check {
            let promises = self.promises.iter().map(|(name, promise)| (name.clone(), promise.text().into()));
            let at = [("at".to_owned(), toml::Value::from(check.text()))];
            let whole = toml::Value::Table(at.into_iter().chain(promises).collect());
            put("check", if self.promises.is_empty() { check.text().into() } else { whole });
        }
        if let Some(zone) = &self.zone {
            put("time-zone", zone.clone().into());
        }
        put("jitter", format!("{}s", self.jitter.as_secs()).into());
        put("nice", i64::from(self.nice).into());
        put("io", self.io.word().into());
        (*self != Self::default()).then_some(table)
    }
}

impl Config {
    /// When a profile is run; `None` when by hand only.
    #[must_use]
    pub fn schedule_of<'a>(&'a self, profile: &'a Profile) -> Option<&'a Schedule> {
        match &profile.schedule {
            Some(ProfileSchedule::Never) => None,
            Some(ProfileSchedule::At(schedule)) => Some(schedule),
            None => self.schedule.run.as_ref(),
        }
    }

    /// The time zone of all times of the schedule.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        let named = self.schedule.zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        named.unwrap_or_else(TimeZone::system)
    }

    /// Every time at which `bk run` has work for some profile, each once: those of `[schedule]` first, unless all
    /// profiles have their own.
    #[must_use]
    pub fn run_schedules(&self) -> Vec<&Schedule> {
        let common = self.profiles.is_empty() || self.profiles.values().any(|profile| profile.schedule.is_none());
        let mut all: Vec<&Schedule> = self.schedule.run.iter().filter(|_| common).collect();
        for schedule in self.profiles.values().filter_map(|profile| self.schedule_of(profile)) {
            if !all.contains(&schedule) {
                all.push(schedule);
            }
        }
        all
    }

    /// Times of the schedule that a change of the clock moves or would double in the year after `now`, the next of each.
    #[must_use]
    pub fn clock_warnings(&self, now: Timestamp) -> Vec<Warning> {
        let common = [("run", &self.schedule.run), ("check", &self.schedule.check)];
        let common = common.into_iter().filter_map(|(key, one)| Some((format!("schedule.{key}"), one.as_ref()?)));
        let own = self.profiles.iter().filter_map(|(name, profile)| match &profile.schedule {
            Some(ProfileSchedule::At(schedule)) => Some((format!("profile.{name}.schedule"), schedule)),
            _ => None,
        });
        common.chain(own).flat_map(|(key, schedule)| self.warnings_of(&key, schedule, now)).collect()
    }

    /// It is right as it is: nothing is lost and nothing comes twice.
    fn warnings_of(&self, key: &str, schedule: &Schedule, now: Timestamp) -> Vec<Warning> {
        let (zone, until) = (self.zone(), Timestamp { seconds: now.seconds.saturating_add(YEAR), nanos: 0 });
        let changes = schedule.clock_changes(now, until, &zone);
        let next = [Shift::Skipped, Shift::Doubled].map(|shift| changes.iter().find(|one| one.shift == shift));
        let warning = |change: &crate::schedule::ClockChange| {
            let (date, time) = (change.wall.date(), change.wall.strftime("%H:%M"));
            let comes = jiff::Timestamp::from_second(change.comes.seconds).unwrap_or_default();
            let comes = comes.to_zoned(zone.clone()).strftime("%H:%M").to_string();
            let what = match change.shift {
                Shift::Skipped => format!("the clock skips {time} on {date}: it comes at {comes}"),
                Shift::Doubled => format!("the clock shows {time} twice on {date}: it comes the first time only"),
            };
            let message = format!("`{}` is in an hour in which the clock is changed: {what}", schedule.text());
            Warning { level: Level::Info, key: key.to_owned(), origin: self.origin(key), message }
        };
        next.into_iter().flatten().map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, Environment, Given, Origin, load};
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bk.toml");
        std::fs::write(&path, text).unwrap();
        let config = Some(Given { value: path, origin: Origin::Flag("--config") });
        load(&Environment { uid: 1000, config, ..Environment::default() })
    }

    /// The message without the folder.
    fn refused(text: &str) -> (String, String) {
        let error = read(text).unwrap_err();
        let message = error.to_string();
        (message[message.find("bk.toml").unwrap()..].to_owned(), error.hint().into_owned())
    }

    const ALL: &str = "[schedule]\nrun = \"30 2 * * *\"\ncheck = { at = \"0 5 * * 0\" }\ntime-zone = \"Europe/Berlin\"\n\
        jitter = \"10min\"\nnice = 19\nio = \"idle\"\n[profile.a]\nroot = \"/a\"\n[profile.b]\nroot = \"/b\"\n\
        schedule = \"0 4 * * 6\"\n[profile.c]\nuse = \"b\"\n[profile.d]\nuse = \"b\"\nschedule = \"never\"\n";

    #[test]
    fn a_profile_has_its_own_times_or_those_of_all() {
        let config = read(ALL).unwrap();
        let of = |name: &str| config.schedule_of(&config.profiles[name]).map(Schedule::text);
        assert_eq!(
            [of("a"), of("b"), of("c"), of("d")],
            [Some("30 2 * * *"), Some("0 4 * * 6"), Some("0 4 * * 6"), None]
        );
        assert_eq!(
            config.run_schedules().iter().map(|one| one.text()).collect::<Vec<_>>(),
            ["30 2 * * *", "0 4 * * 6"]
        );
        let timetable = &config.schedule;
        assert_eq!((timetable.jitter, timetable.nice, timetable.io), (Duration::from_secs(600), 19, IoClass::Idle));
        assert_eq!(timetable.check.as_ref().map(Schedule::text), Some("0 5 * * 0"));
        assert_eq!(config.zone().iana_name(), Some("Europe/Berlin"));
    }

    #[test]
    fn nothing_said_is_nothing_done_and_no_delay() {
        let config = read("[profile.a]\nroot = \"/a\"\n").unwrap();
        assert_eq!(config.schedule, Timetable::default());
        assert!(config.run_schedules().is_empty() && !config.definition().contains("schedule"));
        let all_have_their_own = "[schedule]\nrun = \"@daily\"\n[profile.a]\nroot = \"/a\"\nschedule = \"@weekly\"\n";
        let config = read(all_have_their_own).unwrap();
        assert_eq!(config.run_schedules().iter().map(|one| one.text()).collect::<Vec<_>>(), ["@weekly"]);
        assert_eq!(read("[schedule]\njitter = \"0min\"\n").unwrap().schedule.jitter, Duration::ZERO);
    }

    #[test]
    fn the_schedule_survives_being_written_down() {
        let config = read(ALL).unwrap();
        let again = read(&config.definition()).unwrap();
        assert_eq!((again.schedule, again.profiles), (config.schedule, config.profiles));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        let cases = [
            (
                "[schedule]\nrun = \"0 30 2 * * *\"",
                "`run` in [schedule] cannot be used: `0 30 2 * * *` has 6 fields, not 5",
            ),
            ("[schedule]\nrun = \"30 2 31 2 *\"", "`run` in [schedule] cannot be used: `30 2 31 2 *` never comes"),
            ("[schedule]\ncheck = { at = \"x\" }", "`check` in [schedule] cannot be used: `x` has 1 fields"),
            ("[schedule]\ncheck = { disk = \"whole in 1d\" }", "`check` in [schedule] must be a schedule"),
            ("[schedule]\ncheck = { at = \"@daily\", disk = 7 }", "`disk` in [schedule.check] must be a promise"),
            ("[schedule]\ncheck = {}", "`check` in [schedule] must be a schedule"),
            ("[schedule]\ncheck = 5", "`check` in [schedule] must be a schedule"),
            (
                "[schedule]\ntime-zone = \"Europe/Berlln\"",
                "`time-zone` in [schedule] is `Europe/Berlln`, which is no time",
            ),
            ("[schedule]\ntime-zone = \"../etc/x\"", "`time-zone` in [schedule] is `../etc/x`, which is no time zone"),
            ("[schedule]\njitter = \"13h\"", "`jitter` in [schedule] is `13h`, which is more than 12 hours"),
            ("[schedule]\njitter = \"-5min\"", "`jitter` in [schedule] must be a time such as \"10min\""),
            ("[schedule]\nnice = 20", "`nice` in [schedule] must be a number from 0 to 19, not the number 20"),
            (
                "[schedule]\nio = \"best\"",
                "`io` in [schedule] must be one of \"idle\", \"low\", \"normal\", not \"best\"",
            ),
        ];
        for (text, message) in cases {
            let (found, hint) = refused(text);
            assert!(found.starts_with(&format!("bk.toml:2: {message}")), "{found}");
            assert!(!hint.is_empty(), "{text}");
        }
        let (found, hint) = refused("[profile.a]\nroot = \"/a\"\nschedule = \"30 25 * * *\"");
        assert!(
            found.starts_with("bk.toml:3: `schedule` in [profile.a] cannot be used: the field for the hour has `25`"),
            "{found}"
        );
        assert!(hint.starts_with("the hour, the second field"), "{hint}");
    }

    const PROMISES: &str = "[repository.ssd]\nlocation = \"/a\"\n[repository.b2]\nlocation = \"/b\"\n[schedule.check]\n\
        at = \"0 5 * * 0\"\n";

    #[test]
    fn each_repository_has_its_promise_which_survives_being_written_down() {
        let text = format!("{PROMISES}ssd = \"whole  in 7d\"\nb2 = \"structure\"\n");
        let config = read(&text).unwrap();
        let promises = &config.schedule.promises;
        assert_eq!(promises["ssd"].seconds(), Some(7 * 86_400));
        assert_eq!((promises["ssd"].text(), promises["b2"].text()), ("whole in 7d".into(), "structure".into()));
        assert_eq!((promises["b2"].seconds(), promises.len()), (None, 2));
        assert_eq!(read(&config.definition()).unwrap().schedule, config.schedule);
        assert!(read(ALL).unwrap().schedule.promises.is_empty());
    }

    #[test]
    fn a_promise_that_cannot_be_meant_is_refused_with_its_own_line() {
        let cases = [
            (
                "sdd = \"whole in 7d\"",
                "`sdd` in [schedule.check] names the repository `sdd`, which is not configured; \
                did you mean `ssd`?",
            ),
            ("ssd = \"7d\"", "`ssd` in [schedule.check] is `7d`, which promises nothing"),
            ("ssd = \"whole in 7\"", "`ssd` in [schedule.check] cannot be used: `7` has no unit; write 7d"),
            ("ssd = \"whole in 3m\"", "`ssd` in [schedule.check] cannot be used: `m` is not a unit; write `mo`"),
            ("ssd = \"whole in 12h\"", "`ssd` in [schedule.check] is `whole in 12h`, which is less than a day"),
        ];
        for (line, message) in cases {
            let (found, hint) = refused(&format!("{PROMISES}{line}\n"));
            assert!(found.starts_with(&format!("bk.toml:7: {message}")), "{found}");
            assert!(!hint.is_empty(), "{line}");
        }
    }

    #[test]
    fn times_in_an_hour_in_which_the_clock_is_changed_are_remarked_on_with_the_date() {
        let config = read(ALL).unwrap();
        // 1 January 2026.
        let found = config.clock_warnings(Timestamp { seconds: 1_767_225_600, nanos: 0 });
        let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "`30 2 * * *` is in an hour in which the clock is changed: \
                 the clock skips 02:30 on 2026-03-29: it comes at 03:00",
                "`30 2 * * *` is in an hour in which the clock is changed: \
                 the clock shows 02:30 twice on 2026-10-25: it comes the first time only",
            ]
        );
        assert!(found.iter().all(|one| one.level == Level::Info && one.origin.to_string().ends_with("bk.toml:2")));
    }
}
