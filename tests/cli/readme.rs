//! What the README and the manual pages say, works.

use std::time::Duration;

use super::past::{DAY, Past};
use super::{Bench, text};

const README: &str = include_str!("../../README.md");

/// The lines of the README's shell blocks that begin with `bk `.
fn examples() -> Vec<&'static str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in README.lines() {
        match line {
            "```sh" | "```console" => inside = true,
            "```" => inside = false,
            _ if inside => {
                let line = line.strip_prefix("$ ").unwrap_or(line);
                let line = line.split("  #").next().unwrap_or_default().trim();
                if line.starts_with("bk ") {
                    found.push(line);
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_examples_of_the_readme_work_in_their_order() {
    let bench = Bench::new();
    let home = bench.path("home");
    std::fs::create_dir_all(home.join("photos/2024")).unwrap();
    std::fs::write(home.join("photos/cat.jpg"), vec![7; 100_000]).unwrap();
    std::fs::write(home.join("photos/2024/dog.jpg"), vec![8; 100_000]).unwrap();
    std::fs::create_dir(bench.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bk"), bench.path("bin/bk")).unwrap();
    std::fs::write(bench.path("bin/pg_dump"), "#!/bin/sh\necho dump of $1\n").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(bench.path("bin/pg_dump")).status().unwrap();
    let path = format!("{}:{}", bench.path("bin").display(), std::env::var("PATH").unwrap());
    let (data, repository) = (home.join(".local/share/bk"), home.join(".local/share/bk/repository"));
    let examples = examples();
    assert!(examples.len() >= 12, "{examples:?}");
    let mut second = false;
    for example in examples {
        // `bk init` and profiles are tried with a configuration elsewhere.
        if example == "bk config example" {
            continue;
        }
        let line = example
            .replace("/home/me", home.to_str().unwrap())
            .replace("/mnt/ssd/bk", repository.to_str().unwrap())
            .replace("/mnt/usb/restic", bench.path("usb").to_str().unwrap())
            .replace("--to /tmp", &format!("--to {}", bench.path("out").display()))
            .replace("--to /mnt/new", &format!("--to {}", bench.path("new").display()))
            .replace("kit.key", data.join("key").to_str().unwrap());
        let output = std::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", &line])
            .env_clear()
            .env("PATH", &path)
            .env("HOME", &home)
            .env("BK_DATA_DIR", &data)
            .env("RESTIC_PASSWORD", "of the escape")
            .current_dir(&home)
            .output()
            .unwrap();
        // What a doctor finds is a matter of the machine.
        let well = output.status.success() || example == "bk doctor" && output.status.code() == Some(3);
        assert!(well, "{line}: {}", String::from_utf8_lossy(&output.stderr));
        if !second {
            // `latest~1` needs a snapshot before.
            second = true;
            let again = std::process::Command::new("bash")
                .args(["-c", &line])
                .env("PATH", &path)
                .env("BK_DATA_DIR", &data)
                .current_dir(&home)
                .status();
            assert!(again.unwrap().success());
        }
    }
    assert!(bench.path("out/photos").exists() && home.join("cat.jpg").exists());
}

#[test]
fn the_configuration_of_the_readme_is_valid_and_backs_up() {
    let bench = Bench::new();
    let start = README.find("```toml\n[family]").unwrap() + 8;
    let block = &README[start..start + README[start..].find("```").unwrap()];
    let config = block
        .replace("require-mount = \"/mnt/ssd\"\n", "")
        .replace("/mnt/ssd/bk", bench.path("ssd").to_str().unwrap())
        .replace("/etc/bk/key", bench.path("key").to_str().unwrap())
        .replace("/mnt/data/wiki", bench.path("source").to_str().unwrap());
    std::fs::write(bench.path("bk.toml"), config).unwrap();
    std::fs::create_dir(bench.path("source/cache")).unwrap();
    std::fs::write(bench.path("source/cache/x"), "x").unwrap();
    let with = |arguments: &[&'static str]| [&["--config", "bk.toml"], arguments].concat();
    bench.expect(0, &with(&["config", "validate"]));
    bench.expect(0, &with(&["init"]));
    bench.expect(0, &with(&["backup", "wiki"]));
    bench.expect(0, &with(&["restore", "wiki", "--to", "out"]));
    let below = bench.path("out/wiki").join(bench.path("source").strip_prefix("/").unwrap());
    assert!(below.join("file").exists() && !below.join("cache/x").exists());
}

/// The blocks of text below a heading, without their fences.
fn blocks(heading: &str) -> Vec<&'static str> {
    let section = &README[README.find(heading).unwrap()..];
    let section = section[3..].find("\n## ").map_or(section, |end| &section[..end + 3]);
    section.split("```text\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// Ids, times and sizes differ from run to run; everything else does not, blanks included.
fn masked(line: &str) -> String {
    let bare = |word: &str| word.trim_matches(|one: char| !one.is_ascii_alphanumeric()).to_owned();
    let shape = |word: &str| word.replace(|one: char| one.is_ascii_digit(), "9");
    let is_unit = |word: &str| ["B", "KiB", "MiB", "s"].contains(&bare(word).as_str());
    let is_size = |word: &str| word.trim_start_matches('(').parse::<f64>().is_ok();
    let words: Vec<&str> = line.split(' ').collect();
    let mask = |at: usize| {
        let word = bare(words[at]);
        let is_id = word.len() == 8 && word.bytes().all(|one| one.is_ascii_hexdigit());
        match shape(words[at]).as_str() {
            _ if is_id => words[at].replace(&word, "IDENTITY"),
            "9999-99-99" => "YYYY-MM-DD".to_owned(),
            "99:99:99" => "HH:MM:SS".to_owned(),
            "99:99:99," => "HH:MM:SS,".to_owned(),
            _ if words.get(at + 1).is_some_and(|next| is_unit(next)) && is_size(words[at]) => "#".to_owned(),
            _ if is_unit(words[at]) => words[at].replace(&word, "UNIT"),
            _ => words[at].to_owned(),
        }
    };
    (0..words.len()).map(mask).collect::<Vec<_>>().join(" ")
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn keeping_and_pruning_say_what_the_readme_says() {
    let bench = Bench::new();
    let toml = |start: &str| {
        let at = README.find(start).unwrap() + "```toml\n".len();
        &README[at..at + README[at..].find("```").unwrap()]
    };
    let config = format!("{}{}", toml("```toml\n[family]"), toml("```toml\n[profile.wiki.keep]"))
        .replace("require-mount = \"/mnt/ssd\"\n", "")
        .replace("/mnt/ssd/bk", bench.path("ssd").to_str().unwrap())
        .replace("/etc/bk/key", bench.path("key").to_str().unwrap())
        .replace("/mnt/data/wiki", bench.path("source").to_str().unwrap());
    std::fs::write(bench.path("bk.toml"), config).unwrap();
    let pages = |seed: u64| {
        for page in 0..40 {
            std::fs::write(bench.path(&format!("source/{page}.md")), noise(seed + page, 3000)).unwrap();
        }
    };
    pages(100);
    bench.expect(0, &["-c", "bk.toml", "init"]);
    let past = Past::of(&bench.path("ssd"), &bench.path("key"));
    // Eight nights, in one of which something could not be read.
    for night in (1..=8).rev() {
        std::fs::write(bench.path("source/wiki.db"), noise(night, 300_000)).unwrap();
        bench.expect(0, &["-c", "bk.toml", "backup", "wiki"]);
        past.redate(night * DAY, |snapshot| {
            if night == 3 {
                snapshot.outcome = bk::format::snapshot::Outcome::Incomplete;
            }
        });
    }
    past.age(Duration::from_secs(2 * DAY));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let blocks = blocks("## Keeping and pruning");
    assert_eq!(blocks.len(), 5);
    for (number, block) in blocks.into_iter().enumerate() {
        match number {
            2 => past.age(Duration::from_secs(25 * 3600)),
            3 => pages(200),
            _ => {}
        }
        let mut said = String::new();
        for line in block.lines().filter_map(|line| line.strip_prefix("$ bk ")) {
            // An id on the command line is that of the newest.
            let newest = past.ids().pop().unwrap();
            let command = match line.split_once(' ') {
                Some(("accept", _)) => format!("accept {}", &newest[..8]),
                _ => line.to_owned(),
            };
            let words: Vec<&str> = ["-c", "bk.toml"].into_iter().chain(command.split(' ')).collect();
            // As on a terminal: both streams in one.
            let both = bench.path("both");
            let file = std::fs::File::create(&both).unwrap();
            let mut run = bench.bk(&words);
            run.env("TZ", "UTC").stdout(file.try_clone().unwrap()).stderr(file);
            let code = run.status().unwrap().code();
            let unusual = number == 3 || command == "accept";
            assert_eq!(code, Some(if unusual { 9 } else { 0 }), "{command}");
            said += &format!("$ bk {command}\n{}", text(&std::fs::read(&both).unwrap()));
        }
        let said = said.replace(&format!(" on {}", host.trim()), " on attic");
        let [printed, expected] = [said.as_str(), block].map(|text| text.lines().map(masked).collect::<Vec<_>>());
        assert_eq!(printed, expected, "\n{said}");
    }
    // What the section says to do about it.
    let [.., before, newest] = &past.ids()[..] else { panic!("not two snapshots") };
    let (out, _) = bench.expect(0, &["-c", "bk.toml", "diff", &before[..8], &newest[..8]]);
    assert!(out.contains("39.md"), "{out}");
    bench.expect(0, &["-c", "bk.toml", "restore", &before[..8], "--to", "before"]);
    let before = bench.path("before/wiki").join(bench.path("source/39.md").strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(before).unwrap(), noise(139, 3000));
}

#[test]
fn several_repositories_say_what_the_readme_says() {
    let bench = Bench::new();
    let toml = |start: &str| {
        let at = README.find(start).unwrap() + "```toml\n".len();
        &README[at..at + README[at..].find("```").unwrap()]
    };
    // A second folder stands for the bucket: what is said is the same, once its order is.
    let config = format!(
        "[defaults]\nto = [\"ssd\", \"b2\"]\n{}{}",
        toml("```toml\n[family]"),
        toml("```toml\n[repository.b2]")
    )
    .replace("require-mount = \"/mnt/ssd\"\n", "")
    .replace("region = \"eu-central-003\"\ncredentials-file = \"/etc/bk/b2\"\n", "")
    .replace("b2://my-bucket/host1", bench.path("b2").to_str().unwrap())
    .replace("/mnt/ssd/bk", bench.path("ssd").to_str().unwrap())
    .replace("/etc/bk/key", bench.path("key").to_str().unwrap())
    .replace("/mnt/data/wiki", bench.path("pages").to_str().unwrap());
    std::fs::write(bench.path("bk.toml"), config).unwrap();
    std::fs::create_dir(bench.path("pages")).unwrap();
    let page = |number: u64, seed: u64| {
        std::fs::write(bench.path(&format!("pages/{number}.md")), noise(seed, 10_000)).unwrap();
    };
    (0..43).for_each(|number| page(number, number));
    bench.expect(0, &["-c", "bk.toml", "init"]);
    bench.expect(0, &["-c", "bk.toml", "backup", "wiki"]);
    [(1, 101), (2, 102)].into_iter().for_each(|(number, seed)| page(number, seed));
    let block = blocks("### Several repositories")[0];
    let both = bench.path("both");
    let file = std::fs::File::create(&both).unwrap();
    let mut run = bench.bk(&["-c", "bk.toml", "backup", "wiki"]);
    assert!(run.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap().success());
    let said = format!("$ bk backup wiki\n{}", text(&std::fs::read(&both).unwrap()));
    let [printed, expected] = [said.as_str(), block].map(|text| text.lines().map(masked).collect::<Vec<_>>());
    assert_eq!(printed, expected, "\n{said}");
}
