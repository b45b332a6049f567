//! Under a real systemd the timers start, the services do their work closed off, and all of it goes again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAME_SPACES: [&str; 7] = ["--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net"];

/// What is done inside; each part is announced by a line with `== `.
const INSIDE: &str = r#"
export HOME=/root TZ=UTC
mkdir -p /etc/bk /srv/wiki /srv/other /mnt/ssd
echo page >/srv/wiki/page
python3 -c "
import sqlite3
database = sqlite3.connect('/srv/wiki/app.db')
database.execute('pragma journal_mode = wal')
database.execute('create table t (x)')
"
chown -R www-data /srv/wiki
chmod 700 /srv/wiki
cat >/etc/bk/bk.toml <<'END'
[family]
key-file = "/etc/bk/key"
[repository.ssd]
location = "/mnt/ssd/bk"
[schedule]
run = "30 2 * * *"
check = "0 5 * * 0"
[profile.wiki]
paths = ["/srv/wiki"]
[[profile.shop.database]]
engine = "postgres"
name = "postgres"
socket = "/srv/pg"
system-user = "postgres"
END
mkdir /srv/pg
chown postgres /srv/pg
server=$(echo /usr/lib/postgresql/*/bin)
cd /
runuser -u postgres -- "$server/initdb" -D /srv/pg/data -A trust >/dev/null
runuser -u postgres -- "$server/pg_ctl" -D /srv/pg/data -o "-k /srv/pg -c listen_addresses=''" -l /srv/pg/log -w start
runuser -u postgres -- psql -h /srv/pg -qc 'CREATE TABLE sales AS SELECT generate_series(1, 100) number'
bk init
echo "== install"
bk systemd install
echo "== timers"
systemctl list-timers --all --no-pager --plain
mkdir /etc/systemd/system/bk.service.d
# What the timer starts depends on the time; what is tried is whether it can.
printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/bk -c /etc/bk/bk.toml backup wiki shop\n' \
    >/etc/systemd/system/bk.service.d/try.conf
systemctl daemon-reload
echo "== backup"
systemctl start bk.service
systemctl show bk.service -p Result
bk snapshots
stat -c '%n belongs to %U' /srv/wiki/app.db*
echo "== check"
systemctl start bk-check.service
systemctl show bk-check.service -p Result
echo "== verify"
systemctl start bk-verify.service
systemctl show bk-verify.service -p Result
bk status
journalctl --no-pager -u bk-verify.service | tail -n 20
echo "== closed"
printf '[Service]\nExecStart=\nExecStart=-/bin/touch /srv/other/x\nExecStart=-/bin/touch /srv/wiki/y\nExecStart=-/bin/touch /mnt/ssd/bk/z\n' \
    >/etc/systemd/system/bk.service.d/try.conf
systemctl daemon-reload
systemctl start bk.service
ls /srv/other /srv/wiki /mnt/ssd/bk
echo "== remove"
bk systemd remove
systemctl list-timers --all --no-pager --plain
ls /etc/systemd/system
"#;

/// Everything in its name spaces ends with it.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this machine lets us make name spaces with a root of their own; containers often do not.
fn is_possible(folder: &Path) -> bool {
    let script = "mount -t tmpfs tmpfs \"$1\" && cd \"$1\" && mkdir u w m && \
                  mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w m && \
                  mount -t sysfs sysfs m/sys && mount -t cgroup2 none m/sys/fs/cgroup";
    let mut probe = Command::new("unshare");
    probe.args(NAME_SPACES).args(["sh", "-c", script, "sh"]).arg(folder);
    probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn systemd_runs_what_bk_wrote() {
    let folder = tempfile::tempdir().unwrap();
    if !is_possible(folder.path()) {
        eprintln!("skipped: this machine does not let us start a systemd in name spaces");
        return;
    }
    std::fs::write(folder.path().join("inside.sh"), INSIDE).unwrap();
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/systemd_boot.sh");
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new("unshare");
    command.args(NAME_SPACES).arg("--kill-child").arg(boot).arg(folder.path()).arg(env!("CARGO_BIN_EXE_bk"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let machine = Machine(command.spawn().unwrap());
    let (begin, done) = (Instant::now(), folder.path().join("done"));
    while !done.exists() && begin.elapsed() < Duration::from_secs(90) {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(machine);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let said = read("said");
    assert!(done.exists(), "{said}\n{}", read("log"));
    let part = |name: &str| {
        let begin = said.find(&format!("== {name}\n")).unwrap_or_else(|| panic!("{name}: {said}"));
        said[begin + 3..].split("\n== ").next().unwrap()
    };
    let install = part("install");
    assert!(install.contains("started bk.timer, bk-check.timer and bk-verify.timer\nthe next run is at 20"), "{said}");
    let next = install.split("the next run is at ").nth(1).unwrap().lines().next().unwrap();
    assert!(next.ends_with(" 02:30:00") && part("timers").contains(&format!("{next} UTC")), "{said}");
    assert!(part("timers").contains("bk-check.timer"), "{said}");
    assert!(part("backup").contains("Result=success") && part("backup").contains("complete"), "{said}");
    // What SQLite leaves beside a database can be written by its owner again.
    assert!(part("backup").contains("/srv/wiki/app.db-shm belongs to www-data"), "{said}");
    assert!(part("check").contains("Result=success"), "{said}");
    assert!(part("verify").contains("Result=success") && !part("verify").contains(" never "), "{said}");
    let closed: Vec<&str> = part("closed").lines().collect();
    assert!(!closed.contains(&"x") && closed.contains(&"y") && closed.contains(&"z"), "{said}");
    let remove = part("remove");
    let left = |line: &&str| !line.starts_with("removed ") && line.contains("bk") && *line != "bk.service.d";
    assert!(remove.matches("removed ").count() == 7 && !remove.lines().any(|line| left(&line)), "{said}");
}
