//! The tour of the README through a service with a database: its very configuration and commands, with a real server,
//! say what the README says they say.

use super::Machine;
use super::servers::Postgres;

const README: &str = include_str!("../../README.md");

/// The fenced block that begins with `start`, without its fences.
fn block(start: &str) -> &'static str {
    let at = README.find(start).unwrap_or_else(|| panic!("the README has no block that begins with {start}"));
    let text = &README[at + start.find('\n').unwrap() + 1..];
    &text[..text.find("```").unwrap()]
}

/// Sizes, times, identifiers and the name of the machine differ from run to run; counts do not.
fn masked(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_size = |word: &str| ["B", "KiB", "MiB", "GiB", "s"].contains(&word.trim_end_matches([',', ';']));
    let is_moment = |word: &str| {
        word.len() > 7 && word.starts_with(|first: char| first.is_ascii_digit()) && word.contains(['-', ':'])
    };
    let is_id = |at: usize| at > 0 && words[at - 1] == "snapshot" && words[at].trim_end_matches(',').len() == 8;
    let mask = |at: usize| match words.get(at + 1) {
        Some(unit) if is_size(unit) && words[at].trim_start_matches('(').parse::<f64>().is_ok() => "#".to_owned(),
        _ if is_size(words[at]) => format!("UNIT{}", &words[at][words[at].trim_end_matches([',', ';']).len()..]),
        _ if is_moment(words[at]) => "WHEN".to_owned(),
        _ if at > 0 && words[at - 1] == "host" => "HOST".to_owned(),
        _ if is_id(at) => "ID".to_owned(),
        _ => words[at].to_owned(),
    };
    (0..words.len()).map(mask).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_tour_through_a_database_says_what_the_readme_says() {
    let server = Postgres::start();
    // As much as in the README: 500,055 rows in 4 tables.
    server.make(
        "shop",
        "CREATE TABLE items AS SELECT i FROM generate_series(1, 500000) i;\n\
         CREATE TABLE people AS SELECT i FROM generate_series(1, 50) i;\n\
         CREATE TABLE shelves AS SELECT i FROM generate_series(1, 5) i; CREATE TABLE orders (i int);",
    );
    let mut machine = Machine::new("");
    let ended = machine.bench.path("ended");
    machine.program("logger", &format!("echo \"$*\" >>{}", ended.display()));
    let bench = |name: &str| machine.bench.path(name).display().to_string();
    let (socket, shop, out) = (server.socket(), bench("srv/shop"), bench("tmp"));
    let here = |text: &str| {
        text.replace("/tmp", "OUT")
            .replace("/srv/shop", &shop)
            .replace("/run/postgresql", &socket)
            .replace("require-mount = \"/mnt/ssd\"\n", "")
            .replace("/mnt/ssd/bk", &bench("ssd"))
            .replace("/etc/bk/key", &bench("key"))
            .replace("OUT", &out)
    };
    // The server listens elsewhere than one of Debian.
    let services = here(block("```toml\n[profile.gitea]"))
        .replace("name = \"shop\"\n", &format!("name = \"shop\"\nsocket = \"{socket}\"\n"));
    let config = format!("{}{services}", here(block("```toml\n[family]")));
    assert!(
        config.contains("engine = \"postgres\"") && config.contains("[repository.ssd]") && config.contains(&socket)
    );
    machine.bench.file("bk.toml", config);
    machine.bench.file("srv/shop/index.html", "a page");
    machine.run(&["init"]).exits(0);
    let tour = block("```text\n$ bk backup shop\n");
    let commands: Vec<&str> = tour.split("$ ").filter(|text| !text.is_empty()).collect();
    assert_eq!(commands.len(), 3);
    for text in commands {
        let (command, expected) = text.split_once('\n').unwrap();
        if command.contains("--database") {
            server.sql("postgres", "DROP DATABASE shop;");
        }
        // As on a terminal: both streams in one.
        let said = machine.types(&format!("{} 2>&1", here(command))).exits(0);
        let printed: Vec<String> = said.stdout.lines().map(masked).collect();
        let expected: Vec<String> = expected.lines().map(|line| masked(&here(line))).collect();
        assert_eq!(printed, expected, "{command}");
    }
    assert_eq!(std::fs::read_to_string(ended).unwrap(), "the backup of the shop has ended\n");
    assert_eq!(server.sql("shop", "SELECT count(*), min(i), max(i) FROM items"), "500000|1|500000");
    let page = machine.bench.path("tmp/shop").join(shop.trim_start_matches('/')).join("index.html");
    assert_eq!(std::fs::read_to_string(page).unwrap(), "a page");
}
