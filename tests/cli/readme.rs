//! What the README and the manual pages say, works.

use super::Bench;

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
            .replace("--to /tmp", &format!("--to {}", bench.path("out").display()))
            .replace("--to /mnt/new", &format!("--to {}", bench.path("new").display()))
            .replace("kit.key", data.join("key").to_str().unwrap());
        let output = std::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", &line])
            .env_clear()
            .env("PATH", &path)
            .env("HOME", &home)
            .env("BK_DATA_DIR", &data)
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
