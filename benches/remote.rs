//! Whole runs against a bucket: `bk` and, where it is installed, restic, in turn and on the same data.
//!
//! `cargo bench --bench remote` makes 400 MB of data (a third each of what does not compress, of text, and of small
//! files), starts an S3 server in this process, and runs first backup, unchanged backup, a backup of a changed tenth,
//! restore into an empty folder, forget and prune, and an unchanged backup without any local copy of what is there. It
//! prints the median of three rounds in seconds, with the requests that each took. `-- --delay 50` makes every request
//! wait so many milliseconds, `-- --limit 20` allows `bk` so many million bytes a second each way and says how much of
//! that it used, `-- --fail` answers one of a hundred with 503. `-- --two` compares a run into a folder and
//! the bucket with a run into the bucket alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run should stop")]

#[path = "../tests/support/s3_server.rs"]
mod s3_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bk::clock::Stopwatch;
use s3_server::bad_day::{Rule, Trouble};
use s3_server::{BUCKET, KEY_ID, S3Server, SECRET};

const ROUNDS: usize = 3;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Rows of text that compress to about a third.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 64);
    for (row, bytes) in noise(seed, length / 8).chunks(8).enumerate() {
        let number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        text += &format!("{row}\t{}\tthe quick brown fox\t{}\n", number % 100_000, number % 977);
        if text.len() >= length {
            break;
        }
    }
    text.into_bytes()
}

fn make_source(folder: &Path) {
    for number in 0..8 {
        std::fs::create_dir_all(folder.join(format!("media/{number}"))).unwrap();
        std::fs::write(folder.join(format!("media/{number}/film")), noise(number, 17 << 20)).unwrap();
        std::fs::create_dir_all(folder.join("dumps")).unwrap();
        std::fs::write(folder.join(format!("dumps/{number}.sql")), text(100 + number, 17 << 20)).unwrap();
    }
    for number in 0..13_000_u64 {
        let below = folder.join(format!("small/{}", number / 100));
        if number % 100 == 0 {
            std::fs::create_dir_all(&below).unwrap();
        }
        std::fs::write(below.join(number.to_string()), text(10_000 + number, 10_000)).unwrap();
    }
}

fn change_a_tenth(folder: &Path, round: u64) {
    std::fs::write(folder.join("media/0/film"), noise(1000 + round, 17 << 20)).unwrap();
    for number in (0..13_000_u64).step_by(10) {
        std::fs::write(
            folder.join(format!("small/{}/{number}", number / 100)),
            text(50_000 + round * 20_000 + number, 10_000),
        )
        .unwrap();
    }
}

struct Bench {
    folder: tempfile::TempDir,
    server: S3Server,
    delay: Duration,
    fail: bool,
    /// Bytes a second.
    limit: Option<u64>,
}

/// A tool, how each thing is asked of it.
struct Tool {
    name: &'static str,
    /// Program and arguments that hold for all.
    common: Vec<String>,
    init: &'static [&'static str],
    backup: &'static [&'static str],
    restore: &'static [&'static str],
    prune: &'static [&'static [&'static str]],
    copies: &'static str,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.fail {
            let failing = Trouble::answer(503, "ServiceUnavailable");
            rules.extend((1..200).map(|at| Rule::once("", failing.clone()).after(100 * at)));
        }
        if !self.delay.is_zero() {
            rules.push(Rule::always("", Trouble::Delay(self.delay)));
        }
        rules
    }

    /// Seconds and requests of one command.
    fn time(&self, tool: &Tool, arguments: &[&str]) -> (f64, usize) {
        self.server.take_counts();
        self.server.plan(self.rules());
        let mut command = Command::new(&tool.common[0]);
        command.args(&tool.common[1..]).args(arguments).current_dir(self.folder.path());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path("home"));
        command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("RESTIC_PASSWORD", "x").env("BK_CONFIG", self.path("bk.toml"));
        command.env("BK_DATA_DIR", self.path("data")).env("BK_CACHE_DIR", self.path("bk-copies"));
        command.env("XDG_CACHE_HOME", self.path("copies"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let watch = Stopwatch::start();
        let output = command.output().unwrap();
        let seconds = watch.elapsed().as_secs_f64();
        self.server.refuse_no_more();
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        // A peer that does not get on with this server is not measured, and said to have failed.
        assert!(output.status.success() || tool.name != "bk", "{} {arguments:?}: {said}", tool.name);
        let seconds = if output.status.success() { seconds } else { f64::INFINITY };
        (seconds, self.server.take_counts().values().sum())
    }
}

fn median(mut all: Vec<(f64, usize)>) -> (f64, usize) {
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    all[all.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| -> Option<u64> {
        words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)?.parse().ok())
    };
    let bench = Bench {
        folder: tempfile::tempdir().unwrap(),
        server: S3Server::start(),
        delay: Duration::from_millis(number("--delay").unwrap_or(0)),
        limit: number("--limit").map(|limit| limit * 1_000_000),
        fail: words.iter().any(|word| word == "--fail"),
    };
    for folder in ["home", "source"] {
        std::fs::create_dir(bench.path(folder)).unwrap();
    }
    make_source(&bench.path("source"));
    let here = bench.folder.path().to_str().unwrap();
    let endpoint = bench.server.endpoint();
    let limit = bench
        .limit
        .map_or_else(String::new, |limit| format!("limit-upload = \"{limit}B\"\nlimit-download = \"{limit}B\"\n"));
    let config = format!(
        "[family]\nkey-file = \"{here}/key\"\n[repository.far]\nlocation = \"s3://{BUCKET}/bk\"\n\
         endpoint = \"{endpoint}\"\n{limit}keep = {{ last = 1 }}\n[repository.near]\nlocation = \"{here}/near\"\n\
         [profile.source]\nroot = \"{here}/source\"\n"
    );
    std::fs::write(bench.path("bk.toml"), config).unwrap();
    let bk = Tool {
        name: "bk",
        common: vec![env!("CARGO_BIN_EXE_bk").into(), "--quiet".into(), "--repo".into(), "far".into()],
        init: &["init"],
        backup: &["backup", "source"],
        restore: &["restore", "source", "--to", "restored"],
        prune: &[&["forget", "--keep-last", "1"], &["prune", "--instant-delete", "--no-other-writer"]],
        copies: "bk-copies",
    };
    if words.iter().any(|word| word == "--two") {
        return two(&bench, bk);
    }
    if let Some(limit) = bench.limit {
        return limited(&bench, &bk, limit as f64);
    }
    let restic = Tool {
        name: "restic",
        common: vec!["restic".into(), "--quiet".into(), "-r".into(), format!("s3:{endpoint}/{BUCKET}/restic")],
        init: &["init"],
        backup: &["backup", "source"],
        restore: &["restore", "latest", "--target", "restored"],
        prune: &[&["forget", "--keep-last", "1"], &["prune"]],
        copies: "copies",
    };
    let has_restic = Command::new("restic").arg("version").output().is_ok_and(|output| output.status.success());
    let tools: Vec<Tool> = if has_restic { vec![bk, restic] } else { vec![bk] };
    let what = ["first", "unchanged", "changed", "restore", "prune", "no copies"];
    let mut measured = vec![vec![Vec::new(); what.len()]; tools.len()];
    for round in 0..ROUNDS {
        for (tool, measured) in tools.iter().zip(&mut measured) {
            for place in ["bk", "restic"] {
                let _ = std::fs::remove_dir_all(bench.server.object(place));
            }
            for copies in ["bk-copies", "copies", "data"] {
                let _ = std::fs::remove_dir_all(bench.path(copies));
            }
            bench.time(tool, tool.init);
            measured[0].push(bench.time(tool, tool.backup));
            bench.time(tool, tool.backup);
            measured[1].push(bench.time(tool, tool.backup));
            change_a_tenth(&bench.path("source"), round as u64);
            measured[2].push(bench.time(tool, tool.backup));
            let _ = std::fs::remove_dir_all(bench.path("restored"));
            measured[3].push(bench.time(tool, tool.restore));
            let pruned = tool.prune.iter().map(|arguments| bench.time(tool, arguments));
            measured[4].push(pruned.fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)));
            let _ = std::fs::remove_dir_all(bench.path(tool.copies));
            measured[5].push(bench.time(tool, tool.backup));
        }
    }
    for (at, what) in what.iter().enumerate() {
        let of = |tool: usize| median(measured[tool][at].clone());
        let mut line = format!("{what:10}");
        for (number, tool) in tools.iter().enumerate() {
            let (seconds, requests) = of(number);
            line += &format!("  {}: {seconds:7.2} s {requests:5} requests", tool.name);
        }
        if tools.len() > 1 {
            line += &format!("  ratio {:.2}", of(0).0 / of(1).0);
        }
        println!("{line}");
    }
}

/// How much of the bandwidth that is allowed a first backup and a restore use.
fn limited(bench: &Bench, bk: &Tool, limit: f64) {
    bench.time(bk, bk.init);
    let (up, _) = bench.time(bk, bk.backup);
    let stored = bytes_below(&bench.server.object("bk")) as f64;
    let (down, _) = bench.time(bk, bk.restore);
    let share = |seconds: f64| stored / seconds / limit * 100.0;
    println!("{:.0} MB up in {up:.2} s: {:.0} % of the limit", stored / 1e6, share(up));
    println!("{:.0} MB down in {down:.2} s: {:.0} % of the limit", stored / 1e6, share(down));
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let length = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() }
    };
    entries.map(length).sum()
}

/// A first backup into a folder and the bucket at once, against each alone.
fn two(bench: &Bench, mut bk: Tool) {
    let mut measured = vec![Vec::new(); 3];
    for _ in 0..ROUNDS {
        for (at, repositories) in [vec!["--repo", "far"], vec!["--repo", "near"], vec![]].into_iter().enumerate() {
            let _ = std::fs::remove_dir_all(bench.server.object("bk"));
            for folder in ["near", "bk-copies", "data"] {
                let _ = std::fs::remove_dir_all(bench.path(folder));
            }
            let plain: Vec<String> = bk.common[..2].to_vec();
            bk.common = plain.into_iter().chain(repositories.into_iter().map(str::to_owned)).collect();
            bench.time(&bk, bk.init);
            measured[at].push(bench.time(&bk, bk.backup));
            bk.common.truncate(2);
        }
    }
    let [far, near, both] = [0, 1, 2].map(|at| median(measured[at].clone()).0);
    println!("bucket alone {far:.2} s, folder alone {near:.2} s, both in one run {both:.2} s");
    println!("both, as a multiple of the slower one: {:.2}", both / far.max(near));
}
