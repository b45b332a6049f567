//! Find: entries by their names, in many snapshots, each with its history.
//!
//! # Patterns
//! As those of [`crate::source::exclude`], but not anchored at a data folder: a pattern with a leading `/` is the whole
//! path on the machine, any other matches at every depth. What lies below a match is not matched with it.
//!
//! # Speed
//! What a pattern still needs, once it has been followed to a folder, is a set of states. A tree that was searched
//! from the same states has the same matches, wherever it is and whichever snapshot it is in; so it is read once.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;

use super::list::{MAX_NESTING, check_interrupted, join, names, too_deep, tree_of};
use crate::format::node::{Node, NodeKind, Timestamp};
use crate::id::{BlobId, SnapshotId};
use crate::repository::{BlobReader, RepositoryError, SnapshotInfo, TreeCursor};
use crate::source::exclude::{Matcher, PatternError, PatternProblem, Rules, Verdict};

/// More components than this do not fit the bits of a state.
const MAX_COMPONENTS: usize = 62;

/// Whether `A` and `a` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// They are not.
    #[default]
    Sensitive,
    /// They are.
    Ignored,
}

/// What is looked for.
#[derive(Debug)]
pub struct Query {
    patterns: Vec<PathPattern>,
    case: Case,
}

#[derive(Debug)]
enum Component {
    /// `**`: any number of names.
    Deep,
    Name(Matcher),
}

/// Followed name by name; bit `i` of a state stands before component `i`, the bit after the last for a match.
#[derive(Debug)]
struct PathPattern {
    components: Vec<Component>,
    folders_only: bool,
}

fn folded(name: &[u8]) -> Vec<u8> {
    std::str::from_utf8(name).map_or_else(|_| name.to_ascii_lowercase(), |name| name.to_lowercase().into_bytes())
}

impl PathPattern {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let problem = |problem| PatternError { pattern: text.to_owned(), problem };
        let (folders_only, rest) = text.strip_suffix('/').map_or((false, text), |rest| (true, rest));
        let (absolute, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        if rest.is_empty() {
            return Err(problem(PatternProblem::Empty));
        }
        let mut components = if absolute { Vec::new() } else { vec![Component::Deep] };
        for part in rest.split('/') {
            match (part, components.last()) {
                ("", _) => return Err(problem(PatternProblem::EmptyComponent)),
                ("**", Some(Component::Deep)) => {}
                ("**", _) => components.push(Component::Deep),
                _ => components.push(Component::Name(one_name(part).map_err(|error| problem(error.problem))?)),
            }
        }
        // At the end `**` is what lies below a folder.
        if let Some(Component::Deep) = components.last() {
            components.push(Component::Name(one_name("*").map_err(|error| problem(error.problem))?));
        }
        if components.len() > MAX_COMPONENTS {
            return Err(problem(PatternProblem::TooDeep));
        }
        Ok(Self { components, folders_only })
    }

    /// `**` may also match nothing.
    fn skipping(&self, states: u64) -> u64 {
        let deep = |at: &usize| matches!(self.components.get(*at), Some(Component::Deep));
        (0..self.components.len()).filter(deep).fold(states, |states, at| states | (states & 1 << at) << 1)
    }

    fn step(&self, states: u64, name: &[u8]) -> u64 {
        let mut next = 0;
        for (at, component) in self.components.iter().enumerate().filter(|(at, _)| states & 1 << at != 0) {
            match component {
                Component::Deep => next |= 1 << at,
                Component::Name(matcher) if matcher.verdict(name, false) == Verdict::Keep => next |= 1 << (at + 1),
                Component::Name(_) => {}
            }
        }
        self.skipping(next)
    }

    const fn matched(&self) -> u64 {
        1 << self.components.len()
    }
}

/// A matcher for a single name: of a one-component include list it keeps what the component matches.
fn one_name(part: &str) -> Result<Matcher, PatternError> {
    let part = if part.starts_with('!') { format!("\\{part}") } else { part.to_owned() };
    Ok(Rules::new(&[], &[part])?.for_root(b"/"))
}

impl Query {
    /// Reads patterns; an entry that matches one of them is found.
    ///
    /// # Errors
    /// [`PatternError`] names the first that is malformed.
    pub fn new(patterns: &[String], case: Case) -> Result<Self, PatternError> {
        let parse = |text: &String| match case {
            Case::Sensitive => PathPattern::parse(text),
            Case::Ignored => PathPattern::parse(&text.to_lowercase()),
        };
        Ok(Self { patterns: patterns.iter().map(parse).collect::<Result<_, _>>()?, case })
    }

    fn start(&self) -> Vec<u64> {
        self.patterns.iter().map(|pattern| pattern.skipping(1)).collect()
    }

    /// The states after `name`, and whether it matched as a folder or as anything else.
    fn step(&self, states: &[u64], name: &[u8], is_dir: bool) -> (Vec<u64>, bool) {
        let name = if self.case == Case::Ignored { &folded(name) } else { name };
        let mut matched = false;
        let step = |(pattern, states): (&PathPattern, &u64)| {
            let states = pattern.step(*states, name);
            matched |= states & pattern.matched() != 0 && (is_dir || !pattern.folders_only);
            states & !pattern.matched()
        };
        let states = self.patterns.iter().zip(states).map(step).collect();
        (states, matched)
    }
}

/// An entry as far as its history is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// Without references to content, number of links and change time, which differ between equal entries.
    node: Node,
    /// Hash of the references.
    content: blake3::Hash,
}

impl Seen {
    fn new(mut node: Node) -> Self {
        let mut hasher = blake3::Hasher::new();
        node.links = None;
        node.metadata.ctime = Timestamp::default();
        match &mut node.kind {
            NodeKind::File { content, holes, .. } => {
                for part in std::mem::take(&mut content.parts) {
                    hasher.update(&part.id.0);
                }
                for hole in std::mem::take(holes) {
                    hasher.update(&hole.offset.to_le_bytes()).update(&hole.length.to_le_bytes());
                }
            }
            // A folder is another one when it was changed itself, not when something far below was.
            NodeKind::Directory { tree } => *tree = BlobId([0; 32]),
            _ => {}
        }
        Self { node, content: hasher.finalize() }
    }
}

/// What was found in one tree.
struct Match {
    name: Vec<u8>,
    seen: Option<Seen>,
    /// Number of the matches below it.
    below: Option<usize>,
}

/// A folder that is being searched.
struct Frame {
    key: (BlobId, usize),
    cursor: TreeCursor,
    name: Vec<u8>,
    seen: Option<Seen>,
    matches: Vec<Match>,
}

/// What was searched already.
struct Search<'a> {
    query: &'a Query,
    interrupted: &'a AtomicBool,
    /// Sets of states by number, and back.
    states: Vec<Vec<u64>>,
    numbers: HashMap<Vec<u64>, usize>,
    searched: HashMap<(BlobId, usize), Option<usize>>,
    matches: Vec<Vec<Match>>,
}

impl Search<'_> {
    fn number(&mut self, states: Vec<u64>) -> usize {
        if let Some(number) = self.numbers.get(&states) {
            return *number;
        }
        self.states.push(states.clone());
        self.numbers.insert(states, self.states.len() - 1);
        self.states.len() - 1
    }

    /// Searches below the folder whose tree is `tree`; the number of its matches.
    fn below(
        &mut self,
        reader: &mut BlobReader<'_>,
        tree: BlobId,
        states: Vec<u64>,
    ) -> Result<Option<usize>, RepositoryError> {
        let frame = |key: (BlobId, usize), name, seen| Frame {
            key,
            cursor: TreeCursor::new(key.0),
            name,
            seen,
            matches: Vec::new(),
        };
        let top = (tree, self.number(states));
        if let Some(known) = self.searched.get(&top) {
            return Ok(*known);
        }
        let mut stack = vec![frame(top, Vec::new(), None)];
        while let Some(folder) = stack.last_mut() {
            let Some(entry) = folder.cursor.next(reader)? else {
                let Some(done) = stack.pop() else { break };
                let below = self.finish(done.key, done.matches);
                if let Some(parent) = stack.last_mut() {
                    add(&mut parent.matches, done.name, done.seen, below);
                }
                continue;
            };
            let node = entry.node;
            let tree = tree_of(&node);
            let states = self.states.get(folder.key.1).map_or(&[][..], Vec::as_slice);
            let (states, matched) = self.query.step(states, &node.name, tree.is_some());
            let (name, seen) = (node.name.clone(), matched.then(|| Seen::new(node)));
            match tree.filter(|_| states.iter().any(|states| *states != 0)) {
                None => add(&mut folder.matches, name, seen, None),
                Some(tree) => {
                    let key = (tree, self.number(states));
                    match self.searched.get(&key) {
                        Some(below) => add(&mut folder.matches, name, seen, *below),
                        None if stack.len() >= MAX_NESTING => return Err(too_deep(&tree)),
                        None => {
                            check_interrupted(self.interrupted)?;
                            stack.push(frame(key, name, seen));
                        }
                    }
                }
            }
        }
        Ok(self.searched.get(&top).copied().flatten())
    }

    fn finish(&mut self, key: (BlobId, usize), matches: Vec<Match>) -> Option<usize> {
        let number = (!matches.is_empty()).then(|| {
            self.matches.push(matches);
            self.matches.len() - 1
        });
        self.searched.insert(key, number);
        number
    }

    /// Tells `visit` of every match in `number` and below; `path` is that of its folder.
    fn replay(&self, number: usize, path: &[u8], visit: &mut dyn FnMut(Vec<u8>, &Seen)) {
        let mut stack = vec![(number, path.to_vec())];
        while let Some((number, path)) = stack.pop() {
            for found in self.matches.get(number).into_iter().flatten() {
                let path = join(&path, &found.name);
                if let Some(below) = found.below {
                    stack.push((below, path.clone()));
                }
                if let Some(seen) = &found.seen {
                    visit(path, seen);
                }
            }
        }
    }
}

fn add(matches: &mut Vec<Match>, name: Vec<u8>, seen: Option<Seen>, below: Option<usize>) {
    if seen.is_some() || below.is_some() {
        matches.push(Match { name, seen, below });
    }
}

/// An entry as one or more snapshots have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The entry, without its references to content.
    pub node: Node,
    /// The oldest snapshot that has it.
    pub first: (SnapshotId, Timestamp),
    /// The newest snapshot that has it.
    pub last: (SnapshotId, Timestamp),
    /// How many snapshots have it.
    pub snapshots: u64,
    content: blake3::Hash,
}

/// Everything that snapshots know of one path of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Where it was on the machine.
    pub path: Vec<u8>,
    /// The machine.
    pub host: String,
    /// Oldest first.
    pub versions: Vec<Version>,
}

type Histories = BTreeMap<(Vec<u8>, String), Vec<Version>>;

fn note(histories: &mut Histories, info: &SnapshotInfo, path: Vec<u8>, seen: &Seen) {
    let versions = histories.entry((path, info.snapshot.host.clone())).or_default();
    let now = (info.id, info.snapshot.start);
    match versions.last_mut() {
        // Roots inside each other.
        Some(last) if last.last == now => {}
        Some(last) if last.content == seen.content && last.node == seen.node => {
            last.last = now;
            last.snapshots += 1;
        }
        _ => {
            let (node, content) = (seen.node.clone(), seen.content);
            versions.push(Version { node, first: now, last: now, snapshots: 1, content });
        }
    }
}

/// Looks for `query` in `snapshots`, oldest first; the result is in the order of paths.
///
/// # Errors
/// When a tree cannot be read, and [`RepositoryError::Interrupted`] once `interrupted` is set.
pub fn find(
    reader: &mut BlobReader<'_>,
    snapshots: &[&SnapshotInfo],
    query: &Query,
    interrupted: &AtomicBool,
) -> Result<Vec<History>, RepositoryError> {
    let mut search = Search {
        query,
        interrupted,
        states: Vec::new(),
        numbers: HashMap::new(),
        searched: HashMap::new(),
        matches: Vec::new(),
    };
    let mut histories = Histories::new();
    for info in snapshots {
        check_interrupted(interrupted)?;
        for root in &info.snapshot.roots {
            let path = names(&root.path);
            let (name, above) = path.split_last().map_or((None, &[][..]), |(name, above)| (Some(*name), above));
            let states = above.iter().fold(query.start(), |states, name| query.step(&states, name, true).0);
            let tree = tree_of(&root.node);
            // The root of a file system has no name.
            let (states, matched) = match name {
                Some(name) => query.step(&states, name, tree.is_some()),
                None => (states, false),
            };
            if matched {
                note(&mut histories, info, root.path.clone(), &Seen::new(root.node.clone()));
            }
            let below = match tree.filter(|_| states.iter().any(|states| *states != 0)) {
                Some(tree) => search.below(reader, tree, states)?,
                None => None,
            };
            if let Some(below) = below {
                search.replay(below, &root.path, &mut |path, seen| note(&mut histories, info, path, seen));
            }
        }
    }
    Ok(histories.into_iter().map(|((path, host), versions)| History { path, host, versions }).collect())
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, RUNNING, file, folder};
    use super::*;

    fn found(bench: &Bench, snapshots: &[&SnapshotInfo], patterns: &[&str], case: Case) -> Vec<String> {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let query = Query::new(&patterns, case).unwrap();
        let histories = bench.read(|reader| find(reader, snapshots, &query, &RUNNING)).unwrap();
        let text = |history: &History| {
            let counts: Vec<_> = history.versions.iter().map(|version| version.snapshots.to_string()).collect();
            format!("{} {}", String::from_utf8_lossy(&history.path), counts.join("+"))
        };
        histories.iter().map(text).collect()
    }

    fn tree(log: &str) -> crate::operation::bench::Sample {
        folder(
            "plex",
            vec![
                folder("log", vec![file("a.log", log.as_bytes()), folder("log", vec![file("B.LOG", b"x")])]),
                file("pref.xml", b"p"),
            ],
        )
    }

    #[test]
    fn a_name_is_found_at_every_depth_and_a_path_only_where_it_says() {
        let bench = Bench::new();
        let snapshot = bench.snapshot(vec![("/mnt/data", tree("1"))]);
        let find = |pattern: &str| found(&bench, &[&snapshot], &[pattern], Case::Sensitive);
        assert_eq!(find("*.log"), ["/mnt/data/plex/log/a.log 1"]);
        assert_eq!(find("log"), ["/mnt/data/plex/log 1", "/mnt/data/plex/log/log 1"]);
        assert_eq!(find("log/log"), ["/mnt/data/plex/log/log 1"]);
        assert_eq!(find("/mnt/**/*.xml"), ["/mnt/data/plex/pref.xml 1"]);
        assert_eq!(find("/mnt/data/plex"), ["/mnt/data/plex 1"]);
        assert_eq!(find("plex/*"), ["/mnt/data/plex/log 1", "/mnt/data/plex/pref.xml 1"]);
        assert_eq!(find("plex/**").len(), 5);
        assert_eq!(find("*.xml/"), [""; 0]);
        assert_eq!(find("/srv/**"), [""; 0]);
        assert_eq!(find("!x"), [""; 0]);
    }

    #[test]
    fn case_can_be_ignored() {
        let bench = Bench::new();
        let snapshot = bench.snapshot(vec![("/", tree("1"))]);
        assert_eq!(found(&bench, &[&snapshot], &["b.Log"], Case::Ignored), ["/plex/log/log/B.LOG 1"]);
        assert_eq!(found(&bench, &[&snapshot], &["b.Log"], Case::Sensitive), [""; 0]);
    }

    #[test]
    fn snapshots_with_the_same_entry_are_one_version() {
        let bench = Bench::new();
        let all: Vec<_> = ["1", "1", "2", "2", "2", "1"].map(|log| bench.snapshot(vec![("/", tree(log))])).into();
        let all: Vec<_> = all.iter().collect();
        assert_eq!(
            found(&bench, &all, &["*.log", "*.xml"], Case::Sensitive),
            ["/plex/log/a.log 2+3+1", "/plex/pref.xml 6"]
        );
    }

    #[test]
    fn the_same_path_on_two_machines_has_two_histories() {
        let bench = Bench::new();
        let one = bench.snapshot(vec![("/", tree("1"))]);
        let two = bench.snapshot_with(vec![("/", tree("1"))], |snapshot| snapshot.host = "beta".into());
        assert_eq!(found(&bench, &[&one, &two], &["a.log"], Case::Sensitive), ["/plex/log/a.log 1"; 2]);
    }

    #[test]
    fn equal_folders_in_different_places_are_found_in_each() {
        let bench = Bench::new();
        let twice = folder("top", vec![folder("x", vec![tree("1")]), folder("y", vec![tree("1")])]);
        let snapshot = bench.snapshot(vec![("/", twice)]);
        assert_eq!(
            found(&bench, &[&snapshot], &["a.log"], Case::Sensitive),
            ["/top/x/plex/log/a.log 1", "/top/y/plex/log/a.log 1"]
        );
        assert_eq!(found(&bench, &[&snapshot], &["/top/x/**/a.log"], Case::Sensitive), ["/top/x/plex/log/a.log 1"]);
    }

    #[test]
    fn a_malformed_pattern_is_named_whole() {
        for (pattern, problem) in [
            ("/", PatternProblem::Empty),
            ("a//b", PatternProblem::EmptyComponent),
            ("a/../b", PatternProblem::Dots),
            ("a/[b", PatternProblem::Unclosed),
        ] {
            let error = Query::new(&[pattern.to_owned()], Case::Sensitive).unwrap_err();
            assert_eq!((error.pattern.as_str(), error.problem), (pattern, problem));
        }
    }
}
