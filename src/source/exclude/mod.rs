//! Which entries below a data folder are left out.
//!
//! # Patterns
//! A pattern is **anchored** at the data folder: `cache/**` is the folder `cache` at the top and no other. `*`, `?` and
//! `[a-z]` stay inside one component, `**` spans any depth (at the end: what lies below, not the folder itself), so a
//! pattern without `/` matches only the top level. A leading `/` means a path of the host, a trailing `/` folders only,
//! a leading `!` takes back what an earlier pattern excluded; `\` takes the meaning from the next character. Braces
//! mean nothing. Names are bytes: what is not UTF-8 is matched by `*`, and each such byte by `?`.
//!
//! # Order
//! The last pattern that matches decides. A pattern that matches a folder also matches everything below it.
//! An excluded folder is walked only when a later `!` pattern could match something in it, then as
//! [`Verdict::Parent`]; so `!**/keep` makes every excluded folder be walked.
//!
//! # Includes
//! With an include list, only what it matches, what lies below that, and the parents needed to reach it are kept;
//! exclude patterns still apply to that.

mod lint;
mod pattern;

use std::sync::Arc;

pub use lint::{LintFinding, LintLevel, lint};
use pattern::{Pattern, Reach, States};
pub use pattern::{PatternError, PatternProblem};

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Back it up; when it is a folder, look at what is in it.
    Keep,
    /// A folder that is not wanted itself: look at what is in it, and keep it only when something in it is kept.
    Parent,
    /// Leave it out, and everything below it.
    Skip,
}

/// Exclude and include patterns, for any data folder.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    exclude: Vec<Arc<Pattern>>,
    include: Vec<Arc<Pattern>>,
}

/// The [`Rules`] for one data folder; cheap to clone, made to be asked for millions of entries.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    exclude: Arc<[Rule]>,
    include: Arc<[Rule]>,
    /// There was an include list, even if nothing of it lies in this data folder.
    limited: bool,
}

#[derive(Debug)]
struct Rule {
    pattern: Arc<Pattern>,
    /// The states of the pattern at the data folder.
    start: States,
    /// The data folder itself, or a folder above it, matches.
    everything: bool,
}

impl Rules {
    /// Reads exclude `patterns` and the `include` list.
    ///
    /// # Errors
    /// [`PatternError`] names the first pattern that is malformed, or has a `!` in the include list.
    pub fn new(patterns: &[String], include: &[String]) -> Result<Self, PatternError> {
        let read = |text: &String| Pattern::parse(text).map(Arc::new);
        let read_include = |text: &String| match read(text)? {
            pattern if pattern.negated => {
                Err(PatternError { pattern: text.clone(), problem: PatternProblem::NegatedInclude })
            }
            pattern => Ok(pattern),
        };
        Ok(Self {
            exclude: patterns.iter().map(read).collect::<Result<_, _>>()?,
            include: include.iter().map(read_include).collect::<Result<_, _>>()?,
        })
    }

    /// Whether every entry is kept in every data folder.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exclude.is_empty() && self.include.is_empty()
    }

    /// The rules for the data folder at the absolute host path `root`; what cannot match in it is dropped.
    #[must_use]
    pub fn for_root(&self, root: &[u8]) -> Matcher {
        let root = components(root);
        let rules = |patterns: &[Arc<Pattern>]| patterns.iter().filter_map(|one| Rule::new(one, &root)).collect();
        Matcher { exclude: rules(&self.exclude), include: rules(&self.include), limited: !self.include.is_empty() }
    }
}

impl Rule {
    fn new(pattern: &Arc<Pattern>, root: &[&[u8]]) -> Option<Self> {
        let above = if pattern.absolute { root } else { &[] };
        let (start, reach) = pattern.follow(pattern.start(), above);
        let everything = reach.exact || reach.beneath;
        (start != 0).then(|| Self { pattern: Arc::clone(pattern), start, everything })
    }

    fn reach(&self, path: &[&[u8]]) -> Reach {
        if self.everything {
            return Reach { exact: false, beneath: true, open: true };
        }
        self.pattern.follow(self.start, path).1
    }

    fn matches(&self, reach: Reach, is_dir: bool) -> bool {
        reach.beneath || reach.exact && (is_dir || !self.pattern.folders_only)
    }
}

/// The names in `path`, without the empty ones around doubled, leading and trailing `/`.
fn components(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::with_capacity(16);
    names.extend(path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()));
    names
}

impl Matcher {
    /// What to do with the entry at `relative`: its path below the data folder, without a leading `/`.
    ///
    /// The answer does not depend on what was asked before, so it is also right without a walk.
    #[must_use]
    pub fn verdict(&self, relative: &[u8], is_dir: bool) -> Verdict {
        if self.keeps_all() {
            return Verdict::Keep;
        }
        let path = components(relative);
        if path.is_empty() {
            return Verdict::Keep;
        }
        let (included, reachable) = self.included(&path, is_dir);
        if !reachable {
            return Verdict::Skip;
        }
        let (excluded, taken_back_below) = self.excluded(&path, is_dir);
        match (included, excluded) {
            (true, false) => Verdict::Keep,
            (false, false) if is_dir => Verdict::Parent,
            (_, true) if is_dir && taken_back_below => Verdict::Parent,
            _ => Verdict::Skip,
        }
    }

    /// Whether there is nothing to ask: every entry of this data folder is kept.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.exclude.is_empty() && !self.limited
    }

    /// Whether nothing of this data folder can be kept: it, or a folder above it, is excluded as a whole, or the
    /// include list has nothing for it.
    #[must_use]
    pub fn drops_all(&self) -> bool {
        let after = self.exclude.iter().rev().take_while(|rule| !rule.pattern.negated);
        self.limited && self.include.is_empty() || after.into_iter().any(|rule| rule.everything)
    }

    /// Whether the include list keeps the path, and whether it keeps it or may keep something below it.
    fn included(&self, path: &[&[u8]], is_dir: bool) -> (bool, bool) {
        if !self.limited {
            return (true, true);
        }
        let mut open = false;
        for rule in self.include.iter() {
            let reach = rule.reach(path);
            if rule.matches(reach, is_dir) {
                return (true, true);
            }
            open |= reach.open && is_dir;
        }
        (false, open)
    }

    /// Whether the path is excluded, and whether a `!` after the pattern that excludes it may match below.
    fn excluded(&self, path: &[&[u8]], is_dir: bool) -> (bool, bool) {
        let mut taken_back_below = false;
        for rule in self.exclude.iter().rev() {
            let reach = rule.reach(path);
            if rule.matches(reach, is_dir) {
                return (!rule.pattern.negated, taken_back_below);
            }
            taken_back_below |= rule.pattern.negated && reach.open;
        }
        (false, taken_back_below)
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Keep, Parent, Skip};
    use super::*;

    fn texts(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|&pattern| pattern.to_owned()).collect()
    }

    fn matcher(exclude: &[&str], include: &[&str]) -> Matcher {
        Rules::new(&texts(exclude), &texts(include)).unwrap().for_root(b"/mnt/data/wiki")
    }

    /// Paths that end in `/` are folders.
    fn check(exclude: &[&str], include: &[&str], cases: &[(&str, Verdict)]) {
        let matcher = matcher(exclude, include);
        for (path, expected) in cases {
            let (name, is_dir) = path.strip_suffix('/').map_or((*path, false), |name| (name, true));
            assert_eq!(matcher.verdict(name.as_bytes(), is_dir), *expected, "{exclude:?} {include:?} on {path}");
        }
    }

    #[test]
    fn without_rules_everything_is_kept() {
        check(&[], &[], &[("a", Keep), ("a/", Keep), ("a/b", Keep)]);
        assert!(matcher(&[], &[]).keeps_all());
    }

    #[test]
    fn a_pattern_is_anchored_at_the_data_folder() {
        check(
            &["cache/**"],
            &[],
            &[("cache/", Keep), ("cache/x", Skip), ("cache/x/", Skip), ("cache/x/y", Skip), ("a/cache/x", Keep)],
        );
        check(&["log"], &[], &[("log", Skip), ("log/", Skip), ("log/x", Skip), ("a/log", Keep), ("logs", Keep)]);
        check(&["a/log"], &[], &[("a/log", Skip), ("log", Keep), ("b/a/log", Keep), ("a/", Keep)]);
    }

    #[test]
    fn wildcards_stay_inside_one_component() {
        check(&["*.tmp"], &[], &[("a.tmp", Skip), ("a/b.tmp", Keep)]);
        check(&["*/cache"], &[], &[("a/cache", Skip), ("cache", Keep), ("a/b/cache", Keep)]);
        check(&["a?b"], &[], &[("a-b", Skip), ("a/b", Keep)]);
        check(&["a[!x]b"], &[], &[("a-b", Skip), ("a/b", Keep)]);
    }

    #[test]
    fn two_stars_span_any_depth() {
        check(&["**/cache"], &[], &[("cache", Skip), ("a/cache", Skip), ("a/b/cache/", Skip), ("a/caches", Keep)]);
        check(&["a/**/z"], &[], &[("a/z", Skip), ("a/b/z", Skip), ("a/b/c/z", Skip), ("z", Keep), ("b/a/z", Keep)]);
        check(&["**/log/**"], &[], &[("log/", Keep), ("log/x", Skip), ("a/log/b/c", Skip)]);
        check(&["**"], &[], &[("a", Skip), ("a/b/", Skip)]);
        check(&["**/a/**/b/*.c"], &[], &[("a/b/x.c", Skip), ("q/a/r/a/s/b/x.c", Skip), ("a/b/d/x.c", Keep)]);
    }

    #[test]
    fn a_trailing_slash_means_folders_only() {
        check(&["build/"], &[], &[("build/", Skip), ("build", Keep), ("build/x", Skip)]);
        check(&["**/build/"], &[], &[("a/build/", Skip), ("a/build", Keep)]);
    }

    #[test]
    fn a_leading_slash_is_a_path_of_the_host() {
        check(&["/mnt/data/wiki/cache"], &[], &[("cache", Skip), ("a/cache", Keep)]);
        check(&["/mnt/*/wiki/cache/**"], &[], &[("cache/", Keep), ("cache/x", Skip)]);
        check(&["/mnt/**/cache"], &[], &[("cache", Skip), ("a/b/cache", Skip), ("x", Keep)]);
        check(&["/**/wiki"], &[], &[("x", Skip)]);
        check(&["/srv/cache"], &[], &[("cache", Keep), ("srv/cache", Keep)]);
        assert!(matcher(&["/srv/cache"], &[]).keeps_all());
        let at_host_root = Rules::new(&texts(&["/proc/**", "tmp"]), &[]).unwrap().for_root(b"/");
        assert_eq!(at_host_root.verdict(b"proc/1", true), Skip);
        assert_eq!(at_host_root.verdict(b"tmp", true), Skip);
    }

    #[test]
    fn a_data_folder_that_is_excluded_as_a_whole_is_told() {
        for pattern in ["/mnt", "/mnt/data/wiki", "/mnt/data/*/", "/**"] {
            assert!(matcher(&[pattern], &[]).drops_all(), "{pattern}");
            check(&[pattern], &[], &[("a", Skip), ("a/b/", Skip)]);
        }
        assert!(!matcher(&["/mnt/data/wiki/**/x"], &[]).drops_all());
        assert!(!matcher(&["/mnt", "!keep"], &[]).drops_all());
        assert!(matcher(&[], &["/srv/other"]).drops_all());
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        check(&["*.log", "!keep.log"], &[], &[("a.log", Skip), ("keep.log", Keep)]);
        check(&["!keep.log", "*.log"], &[], &[("keep.log", Skip)]);
        check(&["a/**", "!a/b", "a/b/c"], &[], &[("a/x", Skip), ("a/b/", Keep), ("a/b/d", Keep), ("a/b/c", Skip)]);
    }

    #[test]
    fn an_excluded_folder_is_walked_only_for_a_later_pattern_that_takes_back_something_in_it() {
        check(
            &["cache", "!cache/a/keep"],
            &[],
            &[
                ("cache/", Parent),
                ("cache/x", Skip),
                ("cache/x/", Skip),
                ("cache/a/", Parent),
                ("cache/a/other", Skip),
                ("cache/a/keep", Keep),
                ("cache", Skip),
            ],
        );
        check(&["!cache/keep", "cache"], &[], &[("cache/", Skip)]);
        check(&["**", "!**/*.conf"], &[], &[("a/", Parent), ("a/b.conf", Keep), ("a/b", Skip)]);
        check(&["a", "!a/keep/"], &[], &[("a/keep/", Keep), ("a/keep", Skip), ("a/keep/x", Keep)]);
    }

    #[test]
    fn an_include_list_keeps_what_it_matches_with_everything_below_and_the_parents() {
        check(
            &[],
            &["game/cfg", "*.ini"],
            &[
                ("game/", Parent),
                ("game", Skip),
                ("game/cfg/", Keep),
                ("game/cfg/a/b", Keep),
                ("game/bin/", Skip),
                ("other/", Skip),
                ("server.ini", Keep),
                ("game/server.ini", Skip),
            ],
        );
        check(&[], &["**/*.cfg"], &[("a/", Parent), ("a/b/", Parent), ("a/b/c.cfg", Keep), ("a/b/c", Skip)]);
        check(&[], &["/mnt/data/wiki/a"], &[("a/", Keep), ("b", Skip)]);
        check(&[], &["/mnt/data"], &[("b", Keep)]);
        check(&[], &["cfg/"], &[("cfg/", Keep), ("cfg", Skip)]);
    }

    #[test]
    fn excludes_still_apply_to_what_is_included() {
        check(
            &["game/cfg/tmp", "**/*.bak"],
            &["game/cfg"],
            &[("game/cfg/", Keep), ("game/cfg/tmp/", Skip), ("game/cfg/x.bak", Skip), ("game/cfg/x", Keep)],
        );
        check(&["game"], &["game/cfg"], &[("game/", Skip)]);
        check(
            &["game", "!game/cfg/x"],
            &["game/cfg"],
            &[("game/", Parent), ("game/cfg/", Parent), ("game/cfg/x", Keep)],
        );
    }

    #[test]
    fn a_verdict_of_skip_holds_for_everything_below_so_that_a_walk_and_a_question_agree() {
        let sets: [(&[&str], &[&str]); 6] = [
            (&["a", "!a/b/c"], &[]),
            (&["**/b", "!a/**/c"], &[]),
            (&["a/**", "!a/b/"], &[]),
            (&["c"], &["a/b", "**/d"]),
            (&["**", "!a/b/c/d"], &["a"]),
            (&["/mnt/data/wiki/a/b", "!*/*/c"], &["*/b"]),
        ];
        let mut paths = vec![String::new()];
        for depth in 0..4 {
            let longest: Vec<String> = paths.iter().filter(|path| path.split('/').count() > depth).cloned().collect();
            for path in longest {
                for name in ["a", "b", "c", "d"] {
                    paths.push(if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") });
                }
            }
        }
        for (exclude, include) in sets {
            let matcher = matcher(exclude, include);
            for path in paths.iter().filter(|path| !path.is_empty()) {
                let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
                let skipped = parents.into_iter().any(|parent| matcher.verdict(parent.as_bytes(), true) == Skip);
                if skipped {
                    assert_eq!(matcher.verdict(path.as_bytes(), false), Skip, "{exclude:?} {include:?} {path}");
                }
            }
        }
    }

    #[test]
    fn names_that_are_not_utf_8_are_matched() {
        let matcher = matcher(&["caf?/**", "*.tmp"], &[]);
        assert_eq!(matcher.verdict(b"caf\xe9/x", false), Skip);
        assert_eq!(matcher.verdict(b"\xff.tmp", false), Skip);
        assert_eq!(matcher.verdict(b"\xff", false), Keep);
    }

    #[test]
    fn a_pattern_taken_back_in_an_include_list_is_refused() {
        let error = Rules::new(&[], &texts(&["!a"])).unwrap_err();
        assert_eq!(error.to_string(), "pattern `!a` begins with `!`, which has no meaning in an include list");
        assert_eq!(error.hint(), "put it into `exclude` without the `!`");
    }
}
