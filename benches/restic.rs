//! Import and export against `restic copy`: the same data, in turn, and the memory that each takes.
//!
//! `cargo bench --bench restic` makes 600 MB of data (films, dumps and small files), backs it up with the real restic,
//! and times, in three rounds, what brings that snapshot into a new repository: `bk import`, `restic copy`, and
//! `bk export` of the same tree. It prints the medians in seconds and the highest memory of each, then the same for a
//! second snapshot in which a tenth has changed. The password's slow hash, about half a second for each repository that
//! is opened, is in all of them: `restic copy` pays it twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::indexing_slicing, reason = "as above")]

#[path = "../tests/support/trees.rs"]
mod trees;

use std::path::Path;
use std::process::Command;

use trees::{Bench, Measured, Said, noise};

const ROUNDS: usize = 3;

/// Rows of text that compress to about a third.
fn rows(seed: u64, length: usize) -> Vec<u8> {
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

fn make_source(bench: &Bench) {
    for number in 0..8 {
        bench.file(&format!("source/media/{number}"), noise(number, 34 << 20));
        bench.file(&format!("source/dumps/{number}.sql"), rows(100 + number, 26 << 20));
    }
    for number in 0..13_000_u64 {
        bench.file(&format!("source/small/{}/{number}", number / 100), rows(10_000 + number, 10_000));
    }
}

fn change_a_tenth(bench: &Bench, round: u64) {
    bench.file("source/media/0", noise(1000 + round, 34 << 20));
    for number in (0..13_000_u64).step_by(10) {
        bench.file(&format!("source/small/{}/{number}", number / 100), rows(50_000 + round * 20_000 + number, 10_000));
    }
}

/// What is measured: a name, what makes its repository, and what is timed.
struct Contestant {
    name: &'static str,
    init: Vec<String>,
    run: Vec<String>,
    /// What is removed before a round.
    to: &'static str,
}

fn command(bench: &Bench, words: &[String]) -> Command {
    let mut command = bench.command(&words[0]);
    command.args(&words[1..]).env("RESTIC_PASSWORD", "x").env("RESTIC_FROM_PASSWORD", "x");
    command.env("RESTIC_CACHE_DIR", bench.path("copies"));
    command
}

/// Seconds, and the highest memory by the account that the system keeps of a process that ended.
fn measured(bench: &Bench, words: &[String]) -> Measured {
    let script = "import resource, subprocess, sys, time\nbegin = time.monotonic()\ncode = subprocess.call(sys.argv[2:])\n\
        seconds = time.monotonic() - begin\n\
        open(sys.argv[1], 'w').write(f'{seconds} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}')\n\
        sys.exit(code if code >= 0 else 128 - code)";
    let peak = bench.path("peak");
    let mut all = vec!["python3".to_owned(), "-c".to_owned(), script.to_owned(), peak.to_str().unwrap().to_owned()];
    all.extend_from_slice(words);
    Said::by(&mut command(bench, &all)).exits(0);
    let text = std::fs::read_to_string(peak).unwrap();
    let (seconds, kib) = text.split_once(' ').unwrap();
    Measured { seconds: seconds.parse().unwrap(), peak_bytes: kib.parse::<u64>().unwrap() << 10 }
}

fn median(mut all: Vec<Measured>) -> Measured {
    all.sort_unstable_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let peak_bytes = all.iter().map(|one| one.peak_bytes).max().unwrap_or_default();
    Measured { seconds: all[all.len() / 2].seconds, peak_bytes }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn remove(path: &Path) {
    if path.exists() {
        std::fs::remove_dir_all(path).unwrap();
    }
}

fn main() {
    let bench = Bench::new();
    let bk = trees::program().to_str().unwrap().to_owned();
    let here = bench.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    std::fs::write(bench.path("bk.toml"), "").unwrap();
    let contestants = [
        Contestant {
            name: "bk import",
            init: words(&format!("env BK_DATA_DIR={here}/imported {bk} --quiet init")),
            run: words(&format!("env BK_DATA_DIR={here}/imported {bk} --quiet import restic:{here}/there --all")),
            to: "imported",
        },
        Contestant {
            name: "restic copy",
            init: words(&format!("restic -q -r {here}/copied init")),
            run: words(&format!("restic -q -r {here}/copied copy --from-repo {here}/there")),
            to: "copied",
        },
        Contestant {
            name: "bk export",
            init: words(&format!("restic -q -r {here}/exported init")),
            run: words(&format!("{bk} --quiet export restic:{here}/exported --all")),
            to: "exported",
        },
    ];
    let backup = |bench: &Bench| {
        for words in [
            words(&format!("restic -q -r {here}/there backup {here}/source")),
            words(&format!("{bk} --quiet backup {here}/source")),
        ] {
            Said::by(&mut command(bench, &words)).exits(0);
        }
    };
    let mut all = vec![vec![Vec::new(); 2]; contestants.len()];
    make_source(&bench);
    for round in 0..ROUNDS {
        for folder in ["there", "data", "copies"] {
            remove(&bench.path(folder));
        }
        Said::by(&mut command(&bench, &words(&format!("restic -q -r {here}/there init")))).exits(0);
        backup(&bench);
        for contestant in &contestants {
            remove(&bench.path(contestant.to));
            Said::by(&mut command(&bench, &contestant.init)).exits(0);
        }
        for (number, contestant) in contestants.iter().enumerate() {
            all[number][0].push(measured(&bench, &contestant.run));
        }
        change_a_tenth(&bench, round as u64);
        backup(&bench);
        for (number, contestant) in contestants.iter().enumerate() {
            all[number][1].push(measured(&bench, &contestant.run));
        }
    }
    for (at, what) in ["the first snapshot", "a tenth changed"].into_iter().enumerate() {
        println!("{what}:");
        for (contestant, measured) in contestants.iter().zip(&all) {
            println!("  {:12} {}", contestant.name, median(measured[at].clone()));
        }
    }
}
