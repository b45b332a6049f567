//! The story, night by night.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::machine::{Machine, Said, Tree, orders, tree};
use super::model::{Came, Model, PROFILES, REPOSITORIES, Told};
use super::rules::{Watch, promtool};
use super::time::{Day, NANO, at, is_monday, is_sunday, nanos, timer};
use super::{expect, numbers};

/// Nights are counted from 1.
pub struct Story {
    pub first_day: Day,
    pub nights: u64,
    /// A command before the run of `shop` fails.
    pub refused: Range<u64>,
    /// A dump of `shop` fails.
    pub dump_fails: Range<u64>,
    /// The bucket goes away in the morning after the first, and comes back at noon after the last of these.
    pub away: Range<u64>,
    /// The machine is off at these, and is switched on at eleven after the one that follows them.
    pub off: Range<u64>,
    /// Somebody rewrites nine of ten files.
    pub changed_at_once: Option<u64>,
    /// Somebody accepts that, at noon.
    pub accepted: u64,
}

impl Story {
    /// Nothing happens.
    pub fn quiet() -> Self {
        Self {
            first_day: super::time::OCTOBER_1,
            nights: 0,
            refused: 0..0,
            dump_fails: 0..0,
            away: 0..0,
            off: 0..0,
            changed_at_once: None,
            accepted: 0,
        }
    }

    fn day(&self, night: u64) -> Day {
        self.first_day + night as i64 - 1
    }

    /// What the night does to each profile, in the order in which they are run.
    fn came(&self, night: u64) -> [(&'static str, Came); 2] {
        let shop = match night {
            _ if self.refused.contains(&night) => Came::Refused,
            _ if self.dump_fails.contains(&night) => Came::WithoutDump,
            _ => Came::Complete,
        };
        let wiki = if self.changed_at_once == Some(night) { Came::Strange } else { Came::Complete };
        [("shop", shop), ("wiki", wiki)]
    }

    fn is_boot(&self, night: u64) -> bool {
        !self.off.is_empty() && night == self.off.end
    }

    /// When the run is begun: a minute after its time, and each night four seconds later, so that what is 30 days old is
    /// that clearly. The night after the dumps were mended is ten minutes late: their gap is a little longer than four
    /// nights then, and therefore a break.
    fn run_at(&self, night: u64) -> i64 {
        let begin = if self.is_boot(night) { at(self.day(night), 11, 0) } else { timer(self.day(night)) };
        let late = if night > 1 && night == self.dump_fails.end { 600 } else { 0 };
        begin + 60 + 4 * night as i64 + late
    }
}

struct Play<'a> {
    story: &'a Story,
    machine: Machine,
    model: Model,
    watch: Watch,
    trees: BTreeMap<(&'static str, u64), Tree>,
    /// What each repository last listed.
    ids: BTreeMap<(&'static str, &'static str, i64), String>,
    deleted_bytes: u64,
}

/// Plays it.
pub fn play(story: &Story) {
    let (machine, model, watch) = (Machine::new(), Model::default(), Watch::default());
    let (trees, ids) = (BTreeMap::new(), BTreeMap::new());
    let mut play = Play { story, machine, model, watch, trees, ids, deleted_bytes: 0 };
    play.machine.bk(at(story.first_day - 1, 20, 0), &["init"]).exits(0);
    for night in 1..=story.nights {
        println!("night {night}");
        if story.off.contains(&night) {
            if night == story.off.start {
                play.watch.off(at(story.day(night) - 1, 23, 0));
            }
            continue;
        }
        play.night(night);
        play.day(night);
    }
    play.end();
}

/// When the snapshots of a run begin, by profile.
fn starts(said: &Said, list: &[Value], now: i64) -> BTreeMap<&'static str, i64> {
    let report = said.json("run");
    let mut starts = BTreeMap::new();
    for profile in PROFILES {
        let step = report["profiles"].as_array().unwrap().iter().find(|step| step["profile"] == profile).unwrap();
        let near = step["repositories"].as_array().unwrap().iter().find(|one| one["repository"] == "ssd").unwrap();
        if let Some(found) = list.iter().find(|one| one["id"] == near["snapshot_id"]) {
            let start = nanos(found["time"].as_str().unwrap());
            assert!((now..now + 60).contains(&(start / NANO)), "{found}");
            starts.insert(profile, start);
        }
    }
    starts
}

impl Play<'_> {
    /// The time of the timer after a night.
    fn next(&self, night: u64) -> i64 {
        timer(self.story.day(night) + 1)
    }

    fn night(&mut self, night: u64) {
        let (story, day) = (self.story, self.story.day(night));
        let all_at_once = story.changed_at_once == Some(night);
        for (profile, tree) in self.machine.work(night, at(day, 0, 0), all_at_once) {
            self.trees.insert((profile, night), tree);
        }
        self.machine.set("refused", story.refused.contains(&night));
        self.machine.set("dump-fails", story.dump_fails.contains(&night));
        if !story.is_boot(night) {
            self.is_due_at(night, timer(day));
        }
        let (now, came) = (story.run_at(night), story.came(night));
        let said = self.machine.bk(now, &["--json", "run"]);
        let list = self.machine.bk(now + 200, &["--json", "--repo", "ssd", "snapshots"]).exits(0).list();
        let starts = starts(&said, &list, now);
        self.model.run(night, now, &came, &starts);
        expect::report(&said, &self.model, &came);
        for pruned in said.json("run")["pruned"].as_array().unwrap() {
            self.deleted_bytes += pruned["figures"]["deleted_bytes"].as_u64().unwrap_or(0);
        }
        let told = self.model.tell_run(now, &came);
        self.is_told(&told, Some(self.model.code(&came)), &format!("night {night}"));
        let text = self.written(now);
        numbers::after_run(&numbers::parse(&text), &self.model, now, self.next(night));
        self.lists("ssd", &list);
        if night.is_multiple_of(6) || [story.away.end + 1, story.accepted + 1].contains(&night) || night == story.nights
        {
            let far =
                (!self.model.is_away).then(|| self.machine.bk(now + 300, &["--json", "--repo", "b2", "snapshots"]));
            far.into_iter().for_each(|said| self.lists("b2", &said.exits(0).list()));
        }
        // It is done: whoever calls again has nothing to do, also in the hour that comes twice.
        if night.is_multiple_of(5) || story.is_boot(night) {
            let again = self.machine.bk(now + 3600, &["--json", "run"]).exits(0);
            assert_eq!(again.json("due")["due"].as_array().unwrap().len(), 0, "{}", again.all);
            self.is_told(&[], None, "a run with nothing to do");
        }
    }

    /// Nothing is due a moment before, everything from then on.
    fn is_due_at(&self, night: u64, due: i64) {
        if night % 10 != 3 && !(24..=26).contains(&night) && self.story.nights > 10 {
            return;
        }
        for (now, is_due) in [(due - 1, night == 1), (due, true)] {
            let said = self.machine.bk(now, &["--json", "run", "--dry-run"]).exits(0);
            let said = said.json("due");
            let names: Vec<&str> = said["due"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
            assert_eq!(names, if is_due { PROFILES.to_vec() } else { Vec::new() }, "night {night}: {said}");
            if !is_due {
                let next = said["next"].as_array().unwrap().iter();
                assert!(next.clone().count() == 2, "{said}");
                next.for_each(|one| assert_eq!(nanos(one["time"].as_str().unwrap()), due * NANO, "{said}"));
            }
        }
    }

    fn lists(&mut self, repository: &'static str, list: &[Value]) {
        self.ids.retain(|(of, ..), _| *of != repository);
        let ids = expect::snapshots(list, &self.model, repository);
        self.ids.extend(ids.into_iter().map(|((profile, start), id)| ((repository, profile, start), id)));
    }

    #[track_caller]
    fn is_told(&self, told: &[BTreeSet<Told>], run: Option<i64>, what: &str) {
        expect::told(&self.machine.told(), told, what);
        expect::pinged(&self.machine.pinged(), run.is_some(), run.unwrap_or(0), told, what);
    }

    /// What the file for monitoring says now.
    fn written(&mut self, now: i64) -> String {
        let text = std::fs::read_to_string(self.machine.path("textfile/bk.prom")).unwrap();
        numbers::standing(&numbers::parse(&text), &self.model, now);
        self.watch.written(now, &text, &self.model);
        text
    }

    fn day(&mut self, night: u64) {
        let (story, day) = (self.story, self.story.day(night));
        if is_sunday(day) && !story.is_boot(night) {
            self.check(at(day, 5, 0));
        }
        if !story.away.is_empty() && night == story.away.start {
            self.machine.server.go_away();
            self.model.is_away = true;
        }
        if !story.is_boot(night) {
            let now = at(day, 7, 0);
            // A server that is away is waited for some seconds: not every day of it.
            if !self.model.is_away || [story.away.start, story.away.start + 1, story.away.end].contains(&night) {
                let said = self.machine.bk(now, &["--json", "status"]);
                expect::status(&said, &self.model, now, self.next(night));
            }
            self.watch.expect(now, &self.model);
            // The units of systemd do not look by themselves: this is a line of cron.
            if is_monday(day) {
                let now = at(day, 8, 0) + 30;
                self.machine.bk(now, &["--json", "status", "--notify"]);
                let told = self.model.tell_look(now);
                self.is_told(&told, None, &format!("Monday after night {night}"));
                self.written(now);
            }
        }
        if !story.away.is_empty() && night == story.away.end {
            self.machine.server.come_back();
            self.model.is_away = false;
        }
        if story.changed_at_once.is_some() && night == story.accepted {
            self.accept(at(day, 12, 0));
        }
        if [1, story.refused.start + 1, story.away.end, story.accepted].contains(&night) {
            let text = std::fs::read_to_string(self.machine.path("textfile/bk.prom")).unwrap();
            promtool(&self.machine.path("textfile"), &["check", "metrics"], &text);
        }
    }

    fn check(&mut self, now: i64) {
        let said = self.machine.bk(now, &["--json", "check", "--notify"]);
        assert_eq!(said.code, i32::from(self.model.is_away), "{}", said.all);
        let reached = REPOSITORIES.iter().filter(|(repository, _)| !(self.model.is_away && *repository == "b2"));
        self.watch.whole.extend(reached.map(|(repository, _)| (*repository, now)));
        let told = self.model.tell_check(now);
        self.is_told(&told, None, "the check");
        let text = self.written(now);
        numbers::after_check(&numbers::parse(&text), now, &self.watch.whole);
    }

    /// Somebody sees what waits, looks, and says that it was right.
    fn accept(&mut self, now: i64) {
        let waiting = self.machine.bk(now, &["--json", "accept"]).exits(9).list();
        let strange = self.model.place("wiki", "ssd").snapshots.iter().find(|one| one.strange).unwrap();
        let id = &self.ids[&("ssd", "wiki", strange.start)];
        let found: BTreeSet<_> =
            waiting.iter().map(|one| (one["repository"].as_str().unwrap(), one["id"].as_str().unwrap())).collect();
        assert_eq!(found, BTreeSet::from([("ssd", id.as_str()), ("b2", id.as_str())]));
        self.machine.bk(now + 60, &["accept", id]).exits(0);
        self.model.accept();
        self.written(now + 60);
        assert_eq!(self.machine.bk(now + 120, &["--json", "accept"]).exits(0).list(), Vec::<Value>::new());
        let said = self.machine.bk(now + 180, &["--json", "status"]);
        expect::status(&said, &self.model, now + 180, self.next(self.story.accepted));
    }

    fn end(&mut self) {
        let day = self.story.day(self.story.nights) + 1;
        let rules = self.machine.bk(at(day, 9, 0), &["config", "alerts"]).exits(0).out;
        self.watch.compare(&self.machine.path("textfile"), &rules);
        for (repository, _) in REPOSITORIES {
            self.machine.bk(at(day, 9, 0), &["--repo", repository, "check", "--read-data"]).exits(0);
            self.is_small(repository);
        }
        let all: Vec<_> = self.ids.iter().collect();
        assert!(all.len() >= 2 * 2 * self.story.nights.min(20) as usize, "{}", all.len());
        let (one, two) = all.split_at(all.len() / 2);
        let play = &*self;
        std::thread::scope(|scope| {
            for part in [one, two] {
                scope.spawn(move || part.iter().for_each(|(of, id)| play.restores(**of, id, at(day, 10, 0))));
            }
        });
    }

    /// What was forgotten is gone from the disk, too.
    fn is_small(&self, repository: &'static str) {
        let mut needed = std::collections::HashMap::new();
        for profile in PROFILES {
            let nights = self.model.place(profile, repository).snapshots.iter().map(|one| one.night);
            needed.extend(nights.flat_map(|night| self.trees[&(profile, night)].values().copied()));
        }
        let (needed, packed) = (needed.values().sum::<u64>(), self.machine.packed(repository));
        println!("{repository}: {packed} bytes in packs, {needed} needed, {} deleted in all", self.deleted_bytes);
        // A prune that begins some seconds sooner than that of the night before leaves to the next one what is marked for
        // less than a day: what two nights have marked may still lie there.
        assert!(packed < needed * 5 / 4 + (2 << 20), "{repository}: {packed} bytes for {needed}");
        let is_long = self.story.nights > 30;
        assert!(!is_long || self.deleted_bytes > packed, "{repository}: {packed}, and {} deleted", self.deleted_bytes);
    }

    /// A snapshot restores to what its night saw.
    fn restores(&self, (repository, profile, start): (&'static str, &'static str, i64), id: &str, now: i64) {
        let of = self.model.place(profile, repository).snapshots.iter().find(|one| one.start == start).unwrap();
        let to = self.machine.path(&format!("restored-{repository}-{profile}-{}", of.night));
        self.machine.bk(now, &["--repo", repository, "restore", id, "--to", to.to_str().unwrap()]).exits(0);
        let copy = to.join(profile).join(self.machine.path(profile).strip_prefix("/").unwrap());
        assert_eq!(tree(&copy), self.trees[&(profile, of.night)], "{profile} of night {} from {repository}", of.night);
        if profile == "shop" {
            let own = to.join("shop/.bk");
            let dumps = if own.exists() { tree(&own) } else { Tree::new() };
            let dump =
                dumps.iter().find(|(path, _)| path.ends_with(Path::new("orders.sql"))).map(|(_, (hash, _))| *hash);
            assert_eq!(dump, of.complete.then(|| blake3::hash(&orders(of.night))), "the dump of night {}", of.night);
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}
