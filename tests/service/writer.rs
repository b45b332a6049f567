//! A client that writes to a server all the time, in transactions that keep a sum.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// One that writes until it is stopped.
pub struct Writer {
    child: Child,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Writer {
    /// Feeds `client` with what `transaction` gives, numbered from 0.
    pub fn start(mut client: Command, mut transaction: impl FnMut(u64) -> String + Send + 'static) -> Self {
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !until.load(Ordering::Relaxed) && input.write_all(transaction(number).as_bytes()).is_ok() {
                number += 1;
            }
            number
        });
        Self { child, done, thread: Some(thread) }
    }

    /// Ends it once everything is committed; gives the number of transactions.
    #[track_caller]
    pub fn stop(mut self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        let number = self.thread.take().unwrap().join().unwrap();
        assert!(self.child.wait().unwrap().success(), "the writer met an error");
        number
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A transfer between two of the hundred accounts: from, to and how much.
pub fn transfer(number: u64) -> (u64, u64, u64) {
    let mixed = number.wrapping_mul(6_364_136_223_846_793_005).rotate_right(29);
    let from = mixed % 100;
    (from, (from + 1 + mixed / 100 % 99) % 100, number % 7 + 1)
}

/// The schema that [`transaction`] writes to, in the SQL that both servers take. `moves` alone tells what must be in
/// `accounts` and `counter`.
pub const TABLES: &str = "
CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL);
CREATE TABLE moves (id BIGINT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL, amount BIGINT NOT NULL);
CREATE TABLE counter (n BIGINT NOT NULL);
INSERT INTO counter VALUES (0);
";

pub fn transaction(number: u64) -> String {
    let (from, to, amount) = transfer(number);
    format!(
        "BEGIN; UPDATE accounts SET balance = balance - {amount} WHERE id = {from};\n\
         INSERT INTO moves VALUES ({number}, {from}, {to}, {amount});\n\
         UPDATE accounts SET balance = balance + {amount} WHERE id = {to}; UPDATE counter SET n = n + 1; COMMIT;\n"
    )
}

/// All rows of `accounts` as they must be after so many transactions, one a line.
pub fn accounts_after(transactions: u64, separator: char) -> String {
    let mut balances = vec![1000_i64; 100];
    for number in 0..transactions {
        let (from, to, amount) = transfer(number);
        balances[from as usize] -= amount as i64;
        balances[to as usize] += amount as i64;
    }
    let lines = balances.iter().enumerate().map(|(id, balance)| format!("{id}{separator}{balance}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// All rows of `moves` after so many transactions, one a line.
pub fn moves_after(transactions: u64, separator: char) -> String {
    let line = |number| {
        let (from, to, amount) = transfer(number);
        [number, from, to, amount].map(|value| value.to_string()).join(&separator.to_string())
    };
    (0..transactions).map(line).collect::<Vec<_>>().join("\n")
}
