//! Redis.

use super::servers::Redis;
use super::writer::Writer;
use super::{Machine, unseen, wait_for};

fn database(server: &Redis, more: &str) -> String {
    format!("[[profile.shop.database]]\n{}{more}\n", server.settings())
}

/// A transaction that keeps three things in step: a counter, a list and a hash.
fn transaction(number: u64) -> String {
    format!("MULTI\nINCR count\nRPUSH list {number}\nHSET hash {number} {}\nEXEC\n", number * 7)
}

#[test]
fn a_server_that_is_written_to_comes_back_as_it_was_at_one_moment() {
    let server = Redis::start(&[]);
    server.run("DEBUG POPULATE 20000 quiet 200\nSELECT 3\nSET \"odd \\x00\\xff key\" \"\\x00\\x01\"\nSADD set a b c\nZADD sorted 1.5 x 2 y\nXADD stream 1-1 field value\nSET leaves soon EX 3600");
    let machine = Machine::new(&database(&server, ""));
    let writer = Writer::start(server.client(), transaction);
    let count = |server: &Redis| server.run("GET count").trim_matches('"').parse::<u64>().unwrap_or(0);
    wait_for("a transaction", || (count(&server) > 50).then_some(()));
    machine.backs_up();
    let committed = writer.stop();
    let dump = machine.restored("shop").join(".bk/dumps/redis/dump.rdb");
    let again = Redis::start_with(Some(&dump), &[]);
    let moment = count(&again);
    assert!(50 < moment && moment < committed, "{moment} of {committed}: the load was not meanwhile");
    let numbers = |step: u64| (0..moment).map(|number| (number * step).to_string()).collect::<Vec<_>>();
    assert_eq!(again.run("LRANGE list 0 -1").lines().collect::<Vec<_>>(), numbers(1));
    let fields: Vec<String> = (0..moment).map(|number| number.to_string()).collect();
    assert_eq!(again.run(&format!("HMGET hash {}", fields.join(" "))).lines().collect::<Vec<_>>(), numbers(7));
    // What nobody wrote to, by a digest over all of it, database by database.
    let forget = "SELECT 0\nDEL count list hash\nDEBUG DIGEST\nSELECT 3\nTTL leaves\nPERSIST leaves\nDEBUG DIGEST";
    let digests = |server: &Redis| {
        let said = server.run(forget);
        said.lines().filter(|line| line.len() == 40).map(str::to_owned).collect::<Vec<_>>()
    };
    let (now, then) = (digests(&server), digests(&again));
    assert_eq!((now.len(), &now), (2, &then));
}

#[test]
fn a_dump_is_put_where_the_stopped_server_reads_it() {
    let mut server = Redis::start(&[]);
    server.run("DEBUG POPULATE 500 key 50");
    let machine = Machine::new(&database(&server, ""));
    machine.backs_up();
    server.run("FLUSHALL");
    let file = server.data().join("dump.rdb");
    let to = format!("redis://?socket={}&file={}", server.socket(), file.display());
    let arguments = ["--json", "restore", "shop", "--database", "dump.rdb", "--to", &to];
    machine.run(&arguments).exits(4).says("stop it first");
    server.kill();
    let said = machine.run(&arguments).exits(0);
    assert_eq!(said.json()["rows"]["db0"], 500);
    let again = Redis::start_with(Some(&file), &[]);
    assert_eq!(again.run("DBSIZE"), "500");
    // A file that is there is not written over without a word.
    std::fs::write(&file, b"mine").unwrap();
    machine.run(&arguments).exits(4).says("exists");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    machine.run(&[&arguments[..], &["--replace"]].concat()).exits(0);
    assert!(std::fs::read(&file).unwrap().starts_with(b"REDIS"));
}

#[test]
fn a_password_is_read_from_its_file_and_shown_to_nobody() {
    let secret = "s3cret-word";
    let server = Redis::start(&[]);
    let accounts = format!("ACL SETUSER keeper on >{secret} ~* &* +@all\nACL SETUSER default off");
    server.run(&format!("DEBUG POPULATE 20000 key 500\n{accounts}"));
    let machine = Machine::new("");
    let file = machine.password(secret);
    let settings = format!("engine = \"redis\"\nuser = \"keeper\"\nsocket = \"{}\"\n", server.socket());
    machine.configure(&format!("[[profile.shop.database]]\n{settings}password-file = \"{file}\"\n"));
    let said = unseen(secret, || machine.backs_up());
    assert!(!said.text().contains(secret));
    machine.configure(&format!("[[profile.shop.database]]\n{settings}"));
    machine.fails("cannot log in");
}
