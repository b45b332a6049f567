//! The house stands: modules name only modules of lower floors, and what belongs into one room is in no other.
//!
//! `ORDER` is the one list of floors. A total order cannot hold a cycle.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot run fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The modules of `src/`; each names only those before it. `lib` and `main` may name all.
const ORDER: &[&str] = &[
    // 0 words
    "id",
    "size",
    "clock",
    "environment",
    "repo_path",
    "progress",
    // 1 transforms
    "compress",
    "crypto",
    "chunk",
    "format",
    "retention",
    "schedule",
    // 2 edges
    "store",
    "source",
    "destination",
    "state",
    // 3 repository
    "repository",
    // 4 operations
    "operation",
    // 5 interop
    "interop",
    // 6 service
    "hook",
    "profile",
    "discover",
    "status",
    "notify",
    "metrics",
    "job",
    "drill",
    // 7 door
    "ui",
    "command",
];

/// Files with `unsafe` in them: none.
const UNSAFE_FILES: &[&str] = &[];

const MAX_CODE_LINES: usize = 600;

/// Something that only some files may name.
struct Ban {
    what: &'static str,
    /// Any of these in code, at the beginning of a word.
    words: &'static [&'static str],
    /// Where it is allowed: files and, with a `/` at the end, folders below `src/`.
    only_in: &'static [&'static str],
    /// A line that breaks it.
    planted: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        what: "rustic_core outside interop/",
        words: &["rustic_core", "rustic_backend"],
        only_in: &["interop/"],
        planted: "use rustic_core::Repository;",
    },
    Ban {
        what: "opendal outside store/",
        words: &["opendal"],
        only_in: &["store/"],
        planted: "use opendal::{Operator};",
    },
    Ban {
        what: "openssh_sftp_client outside store/",
        words: &["openssh_sftp_client"],
        only_in: &["store/"],
        planted: "use openssh_sftp_client::Sftp;",
    },
    Ban {
        what: "cron and chrono outside schedule/",
        words: &["cron::", "chrono"],
        only_in: &["schedule/"],
        planted: "let schedule = cron::Schedule::from_str(line);",
    },
    Ban {
        what: "clap outside command/",
        words: &["clap", "clap_complete", "clap_mangen"],
        only_in: &["command/"],
        planted: "#[derive(clap::Args)]",
    },
    Ban {
        what: "indicatif outside ui/",
        words: &["indicatif"],
        only_in: &["ui/"],
        planted: "let bar = indicatif::ProgressBar::new(1);",
    },
    Ban {
        what: "printing outside ui/ and command/",
        words: &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        only_in: &["ui/", "command/"],
        planted: "if wrong { eprintln!(\"no\"); }",
    },
    Ban {
        what: "reading the clock outside clock.rs",
        words: &[
            "SystemTime::now",
            "Instant::now",
            "clock_gettime",
            "Zoned::now",
            "Timestamp::now",
            "UNIX_EPOCH.elapsed",
        ],
        only_in: &["clock.rs"],
        planted: "let now = std::time::Instant::now();",
    },
    Ban {
        what: "work left undone",
        words: &["todo!", "unimplemented!"],
        only_in: &[],
        planted: "None => unimplemented!(),",
    },
    Ban {
        what: "unsafe outside the files that are named",
        words: &["unsafe"],
        only_in: UNSAFE_FILES,
        planted: "let x = unsafe { *pointer };",
    },
];

/// Words that stand for work left undone, also in comments; not written out, or they would find themselves.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// A Rust file below `src/`.
struct File {
    /// Below `src/`.
    path: PathBuf,
    /// Without comments, the contents of texts, and tests; every other line stands where it stood.
    code: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), code: without_tests(&blanked(text)) }
    }

    /// The modules that it is in, `["source", "exclude", "pattern"]`; empty for `lib.rs` and `main.rs`.
    fn modules(&self) -> Vec<String> {
        let names = self.path.with_extension("");
        let mut names: Vec<String> = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let last = names.last().map_or("", String::as_str);
        if last == "mod" || names.len() == 1 && matches!(last, "lib" | "main") {
            names.pop();
        }
        names
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    fn at(&self, line: usize) -> String {
        format!("src/{}:{line}", self.path.display())
    }
}

/// The text with comments and the contents of string and character literals made blank; lines stay.
fn blanked(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(characters[from..to].iter().map(|&one| if one == '\n' { '\n' } else { ' ' }));
    };
    while at < characters.len() {
        let end = literal_end(&characters, at);
        match end {
            Some(end) => blank(&mut out, at, end),
            None => out.push(characters[at]),
        }
        at = end.unwrap_or(at + 1);
    }
    out
}

/// Where the comment or literal that begins at `at` ends, when one does.
fn literal_end(text: &[char], at: usize) -> Option<usize> {
    if !matches!(text[at], '/' | '"' | '\'' | 'r' | 'b' | 'c') {
        return None;
    }
    let starts = |word: &str, at: usize| word.chars().enumerate().all(|(i, one)| text.get(at + i) == Some(&one));
    let end_of =
        |from: usize, done: &dyn Fn(usize) -> bool| (from..text.len()).find(|i| done(*i)).unwrap_or(text.len());
    let in_word = at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_');
    if starts("//", at) {
        return Some(end_of(at, &|i| text[i] == '\n'));
    }
    if starts("/*", at) {
        let (mut depth, mut i) = (1, at + 2);
        while depth > 0 && i < text.len() {
            let (open, close) = (starts("/*", i), starts("*/", i));
            depth = depth + usize::from(open) - usize::from(close);
            i += if open || close { 2 } else { 1 };
        }
        return Some(i);
    }
    let raw = ["r", "br", "cr"].iter().find(|prefix| starts(prefix, at)).map(|prefix| at + prefix.len());
    if let Some(marks) = raw.filter(|_| !in_word) {
        let hashes = text[marks..].iter().take_while(|one| **one == '#').count();
        if text.get(marks + hashes) == Some(&'"') {
            let close = format!("\"{}", "#".repeat(hashes));
            return Some((end_of(marks + hashes + 1, &|i| starts(&close, i)) + close.len()).min(text.len()));
        }
    }
    if text[at] == '"' {
        let mut i = at + 1;
        while i < text.len() && text[i] != '"' {
            i += if text[i] == '\\' { 2 } else { 1 };
        }
        return Some((i + 1).min(text.len()));
    }
    // A character; `'a` without a second mark is a lifetime.
    if text[at] == '\'' && text.get(at + 1) == Some(&'\\') {
        return Some((end_of(at + 3, &|i| text[i] == '\'') + 1).min(text.len()));
    }
    (text[at] == '\'' && text.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(begin) = out.find(MARK) {
        let mut depth = 0_usize;
        let after = out[begin + MARK.len()..].char_indices().find(|(_, one)| {
            match one {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(one, '}' | ';')
        });
        let end = after.map_or(out.len(), |(at, one)| begin + MARK.len() + at + one.len_utf8());
        let blank: String = out[begin..end].chars().map(|one| if one == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(begin..end, &blank);
    }
    out
}

/// The modules that a file declares as `#[cfg(test)] mod name;`: their files are tests.
fn test_modules(text: &str) -> Vec<String> {
    let code = blanked(text);
    let declared = code.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let rest = rest.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        let (name, _) = rest.strip_prefix("mod ")?.split_once(';')?;
        Some(name.trim().to_owned()).filter(|name| name.chars().all(|one| one.is_alphanumeric() || one == '_'))
    });
    declared.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file of `src/` that is not a test.
static HOUSE: LazyLock<Vec<File>> = LazyLock::new(read_house);

fn read_house() -> Vec<File> {
    let src = root().join("src");
    let mut paths = Vec::new();
    rust_files(&src, &mut paths);
    paths.sort();
    let mut tests = BTreeSet::new();
    for path in &paths {
        let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        for name in test_modules(&std::fs::read_to_string(path).unwrap()) {
            tests.extend([folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")]);
        }
    }
    let kept = paths.iter().filter(|path| !tests.contains(*path));
    kept.map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        File::new(path.strip_prefix(&src).unwrap().to_str().unwrap(), &text)
    })
    .collect()
}

fn is_word(one: char) -> bool {
    one.is_alphanumeric() || one == '_'
}

/// Where `word` stands in `line` and is not a part of a longer word.
fn find_word(line: &str, word: &str) -> Option<usize> {
    line.match_indices(word).map(|(at, _)| at).find(|&at| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let whole = !word.ends_with(is_word) || !after.is_some_and(is_word);
        whole && !before.is_some_and(is_word)
    })
}

/// The modules after each `crate::` of the file, with their lines; `crate::{a, b::c}` names `a` and `b`.
fn named_modules(file: &File) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (at, _) in file.code.match_indices("crate::") {
        if file.code[..at].ends_with(is_word) || file.code[..at].ends_with('$') {
            continue;
        }
        let line = file.code[..at].matches('\n').count() + 1;
        let rest = &file.code[at + "crate::".len()..];
        let word = |text: &str| text.trim_start().chars().take_while(|one| is_word(*one)).collect::<String>();
        let Some(group) = rest.strip_prefix('{') else {
            named.push((line, word(rest)));
            continue;
        };
        let mut depth = 0_usize;
        let mut first = true;
        for (i, one) in group.char_indices() {
            if first && is_word(one) {
                named.push((line, word(&group[i..])));
                first = false;
            }
            match one {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => first = true,
                _ => {}
            }
        }
    }
    named
}

/// `super::super::…` that leads out of the module of the first floor.
fn leads_out(file: &File) -> Option<usize> {
    let depth = file.modules().len();
    let too_many = "super::".repeat(depth);
    file.lines().find(|(_, line)| depth > 0 && find_word(line, &too_many).is_some()).map(|(line, _)| line)
}

/// Everything wrong with the floors.
fn floor_problems(files: &[File], order: &[&str]) -> Vec<String> {
    let floor = |name: &str| order.iter().position(|one| *one == name);
    let mut problems = Vec::new();
    for file in files {
        let modules = file.modules();
        let Some(own) = modules.first() else { continue };
        let Some(own_floor) = floor(own) else {
            problems.push(format!("{}: the module `{own}` has no place in ORDER", file.at(1)));
            continue;
        };
        for (line, name) in named_modules(file) {
            let problem = match floor(&name) {
                Some(other) if other <= own_floor => continue,
                Some(_) => format!("`{own}` names `{name}`, which is above it"),
                None => format!("`crate::{name}` is not a module of ORDER"),
            };
            problems.push(format!("{}: {problem}", file.at(line)));
        }
        if let Some(line) = leads_out(file) {
            problems.push(format!("{}: write `crate::` where `super::` leads out of `{own}`", file.at(line)));
        }
    }
    problems
}

fn ban_problems(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        let path = file.path.to_str().unwrap();
        for ban in BANS.iter().filter(|ban| !allowed(ban, path)) {
            for (line, text) in file.lines() {
                if ban.words.iter().any(|word| find_word(text, word).is_some()) {
                    problems.push(format!("{}: {}", file.at(line), ban.what));
                }
            }
        }
    }
    problems
}

fn allowed(ban: &Ban, path: &str) -> bool {
    ban.only_in.iter().any(|place| path == *place || place.ends_with('/') && path.starts_with(place))
}

fn code_lines(file: &File) -> usize {
    file.lines().filter(|(_, line)| !line.trim().is_empty()).count()
}

fn report(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |mut text, problem| {
        let _ = write!(text, "\n  {problem}");
        text
    })
}

#[test]
fn modules_name_only_modules_below_them() {
    let problems = floor_problems(&HOUSE, ORDER);
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn lib_rs_has_every_module_and_none_that_has_no_file() {
    let declared: BTreeSet<String> = HOUSE
        .iter()
        .filter(|file| file.path == Path::new("lib.rs"))
        .flat_map(|file| file.lines().map(|(_, line)| line.to_owned()).collect::<Vec<_>>())
        .filter_map(|line| Some(line.trim_start_matches("pub ").strip_prefix("mod ")?.trim_end_matches(';').to_owned()))
        .collect();
    let there: BTreeSet<String> = HOUSE.iter().filter_map(|file| file.modules().first().cloned()).collect();
    assert_eq!(declared, there);
}

#[test]
fn what_belongs_into_one_room_is_in_no_other() {
    let problems = ban_problems(&HOUSE);
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn no_work_is_left_undone() {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&root().join(folder), &mut paths);
    }
    let mut problems = Vec::new();
    for path in paths {
        for (at, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            if NOTES.iter().any(|note| find_word(line, note).is_some()) {
                problems.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn no_file_is_longer_than_somebody_can_keep_in_mind() {
    let long = HOUSE.iter().map(|file| (code_lines(file), file)).filter(|(lines, _)| *lines > MAX_CODE_LINES);
    let problems: Vec<String> = long.map(|(lines, file)| format!("{}: {lines} code lines", file.at(1))).collect();
    assert!(problems.is_empty(), "{}", report(&problems));
}

#[test]
fn main_rs_only_starts() {
    let main = HOUSE.iter().find(|file| file.path == Path::new("main.rs")).unwrap();
    assert!(code_lines(main) <= 60);
}

// The rules themselves.

#[test]
fn each_ban_catches_what_is_planted_and_lets_its_own_room_pass() {
    for ban in BANS {
        let found = ban_problems(&[File::new("chunk.rs", &format!("fn f() {{\n    {}\n}}\n", ban.planted))]);
        assert_eq!(found, [format!("src/chunk.rs:2: {}", ban.what)]);
        for place in ban.only_in {
            let path = if place.ends_with('/') { format!("{place}x.rs") } else { (*place).to_owned() };
            assert!(ban_problems(&[File::new(&path, ban.planted)]).is_empty(), "{path}");
        }
    }
}

#[test]
fn words_in_comments_texts_and_tests_are_no_violation() {
    let text = "//! clap\n/* println!() /* nested */ unsafe */\n\
        const A: &str = \"indicatif \\\" unsafe\";\nconst B: &str = r#\"opendal \" unsafe\"#;\n\
        const C: char = '\"';\nconst D: char = '\\'';\nfn f<'a>(x: &'a str, unsafe_: u8) -> &'a str { x }\n\
        #[cfg(test)]\nmod tests { fn f() { println!(\"{}\", unsafe {}); } }\n\
        #[cfg(test)]\nuse crate::command::Cli;\nfn my_println() { reprintln!() }\n";
    let file = File::new("chunk.rs", text);
    assert_eq!(ban_problems(&[file]), [""; 0]);
    assert_eq!(floor_problems(&[File::new("chunk.rs", text)], ORDER), [""; 0]);
    let after = format!("{text}fn g() {{ unsafe {{}} }}\n");
    assert_eq!(ban_problems(&[File::new("chunk.rs", &after)]).len(), 1, "what follows is looked at again");
}

#[test]
fn an_upward_use_is_caught_in_every_way_it_can_be_written() {
    let problem = "src/store/local.rs:2: `store` names `ui`, which is above it";
    for upward in [
        "use crate::ui::Failure;",
        "use crate::{id::BlobId, ui::{Exit, Failure}, size};",
        "use crate::{id, ui};",
        "fn f() -> crate::ui::Exit {}",
        "use crate::ui as door;",
    ] {
        let file = File::new("store/local.rs", &format!("\n{upward}\n"));
        assert_eq!(floor_problems(&[file], ORDER), [problem], "{upward}");
    }
    let file = File::new("store/local.rs", "use crate::{\n    id::BlobId,\n    store::Area,\n};\nuse super::Area;");
    assert_eq!(floor_problems(&[file], ORDER), [""; 0], "downward, and its own");
    let file = File::new("store/local.rs", "use super::super::ui::Exit;");
    assert_eq!(
        floor_problems(&[file], ORDER),
        ["src/store/local.rs:1: write `crate::` where `super::` leads out of `store`"]
    );
    assert_eq!(floor_problems(&[File::new("main.rs", "use crate::ui::Exit;")], ORDER), [""; 0]);
}

#[test]
fn a_module_without_a_place_is_caught() {
    let problems = floor_problems(&[File::new("util.rs", ""), File::new("id.rs", "use crate::util::x;")], ORDER);
    assert_eq!(
        problems,
        [
            "src/util.rs:1: the module `util` has no place in ORDER",
            "src/id.rs:1: `crate::util` is not a module of ORDER"
        ]
    );
}

#[test]
fn lines_are_counted_without_comments_tests_and_blank_ones() {
    let file = File::new(
        "id.rs",
        "//! Words.\n\nuse a;\n\n/// About f.\nfn f() {\n    // why\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n    x\n}\n",
    );
    assert_eq!(code_lines(&file), 4);
    assert_eq!(test_modules("#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline { mod x; }\nmod real;"), ["tests"]);
}
