//! The same as lines for cron, where there is no systemd.

use std::time::Duration;

use super::Setting;
use super::needs::Work;
use super::service::{command, verify_schedule};
use super::unit::MARK;
use crate::profile::{Config, IoClass};

/// A file for /etc/cron.d, or lines for crontab(1) when they are not root's.
pub(super) fn text(config: &Config, setting: &Setting) -> String {
    let place = if setting.user { "Lines for `crontab -e`." } else { "A file for /etc/cron.d/bk." };
    let mut lines = vec![
        format!("{MARK} show --cron` from {}. {place}", setting.source()),
        "# cron makes up for nothing: what was missed while the machine was off is done at the next time.".to_owned(),
        "SHELL=/bin/sh".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "# What a run prints is mailed to:".to_owned(),
        format!("MAILTO={}", if setting.user { "\"\"" } else { "root" }),
    ];
    if let Some(zone) = &config.schedule.zone {
        lines.push(
            "# cronie goes by this; the cron of Debian by the time zone of the machine, whatever stands here.".into(),
        );
        lines.push(format!("CRON_TZ={zone}"));
    }
    let who = if setting.user { "" } else { "root " };
    let works = config.run_schedules().into_iter().map(|one| (one, Work::Run));
    let works = works.chain(config.schedule.check.iter().map(|one| (one, Work::Check)));
    for (schedule, work) in works.chain(verify_schedule(config).map(|one| (one, Work::Verify))) {
        lines.push(format!("{} {who}{}", schedule.crontab(), shell_line(work, config, setting)));
    }
    lines.join("\n") + "\n"
}

/// The command for /bin/sh; cron takes a `%` for the end of the line.
fn shell_line(work: Work, config: &Config, setting: &Setting) -> String {
    let timetable = &config.schedule;
    let mut words = Vec::new();
    if timetable.jitter > Duration::ZERO {
        words.push(format!("sleep \"$(shuf -n 1 -i 0-{})\";", timetable.jitter.as_secs()));
    }
    if timetable.nice > 0 {
        words.push(format!("nice -n {}", timetable.nice));
    }
    match timetable.io {
        IoClass::Idle => words.push("ionice -c 3".into()),
        IoClass::Low => words.push("ionice -c 2 -n 7".into()),
        IoClass::Normal => {}
    }
    if let Some(data) = &setting.data {
        words.push(quoted(&format!("BK_DATA_DIR={}", data.display())));
        words.insert(words.len() - 1, "env".into());
    }
    words.push(command(work, setting).iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
    words.join(" ").replace('%', "\\%")
}

fn quoted(text: &str) -> String {
    let plain = |one: char| one.is_ascii_alphanumeric() || "/_.@:+=,-".contains(one);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
