//! Which profile an imported snapshot is of: by its paths, as the profiles of the configuration have theirs.

use std::os::unix::ffi::OsStrExt as _;

use crate::format::snapshot::Snapshot;
use crate::profile::{AD_HOC, Config};
use crate::ui::Failure;

/// What is known of the profile of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Assigned {
    /// It is this one.
    Profile(String),
    /// No profile has all its paths.
    None,
    /// Several profiles have, and none is nearer than the others.
    Ambiguous(Vec<String>),
}

/// A profile and folders or files that are of it.
struct Rule {
    profile: String,
    paths: Vec<Vec<u8>>,
}

/// How profiles are found.
pub(super) struct Assignment {
    all: Option<String>,
    typed: Vec<Rule>,
    configured: Vec<Rule>,
}

fn check_name(name: &str) -> Result<String, Failure> {
    if name.is_empty() || name.contains('/') || name == AD_HOC {
        return Err(Failure::usage(
            format!("`{name}` cannot be the name of a profile"),
            "take the name that it has, or will have, in the configuration",
        ));
    }
    Ok(name.to_owned())
}

impl Assignment {
    /// From what was typed, then what is configured.
    ///
    /// # Errors
    /// When what was typed is no name of a profile, or no rule.
    pub(super) fn new(config: &Config, profile: Option<&str>, assign: &[String]) -> Result<Self, Failure> {
        let rule = |text: &String| {
            let parts = text.rsplit_once('=').filter(|(path, _)| path.starts_with('/'));
            let (path, profile) = parts.ok_or_else(|| {
                Failure::usage(
                    format!("`{text}` is no rule for profiles"),
                    "write a full path, `=` and a profile, such as --assign /srv/wiki=wiki",
                )
            })?;
            Ok(Rule { profile: check_name(profile)?, paths: vec![trimmed(path.as_bytes()).to_vec()] })
        };
        let of = |path: &std::path::PathBuf| trimmed(path.as_os_str().as_bytes()).to_vec();
        let profiles = config.profiles.values();
        Ok(Self {
            all: profile.map(check_name).transpose()?,
            typed: assign.iter().map(rule).collect::<Result<_, Failure>>()?,
            configured: profiles
                .map(|known| Rule { profile: known.name.clone(), paths: known.paths.iter().map(of).collect() })
                .collect(),
        })
    }

    /// The profile of a snapshot; where it has one already that one stays, unless another was typed.
    pub(super) fn of(&self, snapshot: &Snapshot) -> Assigned {
        if let Some(profile) = &self.all {
            return Assigned::Profile(profile.clone());
        }
        match nearest(&self.typed, snapshot) {
            Assigned::None => {}
            assigned => return assigned,
        }
        match &snapshot.profile {
            Some(profile) => Assigned::Profile(profile.clone()),
            None => nearest(&self.configured, snapshot),
        }
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// How many bytes of `path` a folder or file `of` accounts for; `None` when it is not in it.
fn depth(of: &[u8], path: &[u8]) -> Option<usize> {
    let rest = trimmed(path).strip_prefix(of)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(of.len() + 1)
}

/// Of the rules that hold every root, the one that says most; a tag that is the name of a profile decides between equals.
fn nearest(rules: &[Rule], snapshot: &Snapshot) -> Assigned {
    let deepest = |rule: &Rule, path: &[u8]| rule.paths.iter().filter_map(|of| depth(of, path)).max();
    let of_rule = |rule: &Rule| -> Option<usize> { snapshot.roots.iter().map(|root| deepest(rule, &root.path)).sum() };
    if snapshot.roots.is_empty() {
        return Assigned::None;
    }
    let found: Vec<_> = rules.iter().filter_map(|rule| Some((of_rule(rule)?, &rule.profile))).collect();
    let Some(most) = found.iter().map(|(depth, _)| *depth).max() else { return Assigned::None };
    let mut best: Vec<_> = found.iter().filter(|(depth, _)| *depth == most).map(|(_, name)| (*name).clone()).collect();
    best.sort();
    best.dedup();
    let tagged: Vec<_> = best.iter().filter(|name| snapshot.tags.contains(name)).cloned().collect();
    match (best.as_slice(), tagged.as_slice()) {
        ([one], _) | (_, [one]) => Assigned::Profile(one.clone()),
        _ => Assigned::Ambiguous(best),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::{Metadata, Node, NodeKind};
    use crate::format::snapshot::Root;
    use crate::operation::bench::empty_snapshot;
    use crate::profile::Profile;

    fn snapshot(paths: &[&str]) -> Snapshot {
        let node = Node { name: b"x".to_vec(), metadata: Metadata::default(), links: None, kind: NodeKind::Fifo };
        let root =
            |path: &&str| Root { path: path.as_bytes().to_vec(), restore_name: b"x".to_vec(), node: node.clone() };
        Snapshot { profile: None, roots: paths.iter().map(root).collect(), ..empty_snapshot() }
    }

    fn config(profiles: &[(&str, &[&str])]) -> Config {
        let profile = |(name, paths): &(&str, &[&str])| {
            let paths = paths.iter().map(std::path::PathBuf::from).collect();
            ((*name).to_owned(), Profile { name: (*name).to_owned(), ..Profile::ad_hoc(paths) })
        };
        let mut config = Config::default();
        config.profiles.extend(profiles.iter().map(profile));
        config
    }

    fn assigned(assignment: &Assignment, paths: &[&str]) -> Assigned {
        assignment.of(&snapshot(paths))
    }

    #[test]
    fn the_profile_whose_paths_hold_every_root_most_closely_is_meant() {
        let config = config(&[("all", &["/srv"]), ("wiki", &["/srv/wiki", "/etc/wiki"]), ("mail", &["/srv/mail/"])]);
        let assignment = Assignment::new(&config, None, &[]).unwrap();
        let profile = |name: &str| Assigned::Profile(name.to_owned());
        assert_eq!(assigned(&assignment, &["/srv/wiki"]), profile("wiki"));
        assert_eq!(assigned(&assignment, &["/etc/wiki", "/srv/wiki/pages"]), profile("wiki"));
        assert_eq!(assigned(&assignment, &["/srv/mail"]), profile("mail"));
        assert_eq!(assigned(&assignment, &["/srv/wiki", "/srv/mail"]), profile("all"));
        assert_eq!(assigned(&assignment, &["/srv/wikipedia"]), profile("all"));
        assert_eq!(assigned(&assignment, &["/srv/wiki", "/home"]), Assigned::None);
        assert_eq!(assigned(&assignment, &[]), Assigned::None);
    }

    #[test]
    fn between_equals_a_tag_decides_and_without_one_nobody_does() {
        let config = config(&[("a", &["/srv"]), ("b", &["/srv"])]);
        let assignment = Assignment::new(&config, None, &[]).unwrap();
        assert_eq!(assigned(&assignment, &["/srv"]), Assigned::Ambiguous(vec!["a".into(), "b".into()]));
        let tagged = Snapshot { tags: vec!["b".into()], ..snapshot(&["/srv"]) };
        assert_eq!(assignment.of(&tagged), Assigned::Profile("b".into()));
    }

    #[test]
    fn what_was_typed_goes_before_what_a_snapshot_says_and_that_before_what_is_configured() {
        let config = config(&[("wiki", &["/srv/wiki"])]);
        let rules = ["/srv=old".to_owned(), "/srv/wiki=old-wiki".to_owned()];
        let typed = Assignment::new(&config, None, &rules).unwrap();
        assert_eq!(assigned(&typed, &["/srv/wiki"]), Assigned::Profile("old-wiki".into()));
        assert_eq!(assigned(&typed, &["/srv/x"]), Assigned::Profile("old".into()));
        let all = Assignment::new(&config, Some("one"), &rules).unwrap();
        assert_eq!(assigned(&all, &["/srv/wiki"]), Assigned::Profile("one".into()));
        let own = Snapshot { profile: Some("own".into()), ..snapshot(&["/srv/wiki"]) };
        assert_eq!(Assignment::new(&config, None, &[]).unwrap().of(&own), Assigned::Profile("own".into()));
        assert_eq!(typed.of(&own), Assigned::Profile("old-wiki".into()));
        for wrong in ["srv=x", "/srv", "/srv=", "/srv=a/b"] {
            assert!(Assignment::new(&config, None, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
