//! Names, times, durations and numbers as people read them.

use jiff::tz::TimeZone;

use crate::format::node::{Metadata, Node, NodeKind, Timestamp};
use crate::size::ByteSize;

/// Characters that change how the text around them is shown: a name with them could pass for another one.
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A name or path on one line: control characters, invisible ones and bytes that are no UTF-8 are escaped.
///
/// No name can move the cursor, end the line or colour the terminal.
#[must_use]
pub fn path_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || is_invisible(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A text on one line, escaped as [`path_text`] does.
#[must_use]
pub fn line_text(text: &str) -> String {
    path_text(text.as_bytes())
}

/// Paths in one cell: the first ones, and how many more there are.
#[must_use]
pub fn paths_text<'a>(all: impl ExactSizeIterator<Item = &'a [u8]>, shown: usize) -> String {
    let more = all.len().saturating_sub(shown);
    let mut text = all.take(shown).map(path_text).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn instant(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(time.seconds, i32::try_from(time.nanos).ok()?).ok()
}

/// A time of this machine's zone, to the second.
#[must_use]
pub fn time_text(time: Timestamp) -> String {
    time_in(time, TimeZone::system())
}

fn time_in(time: Timestamp, zone: TimeZone) -> String {
    match instant(time) {
        Some(instant) => instant.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// The day of a time, for people: `14 Nov 2026`.
#[must_use]
pub fn date_text(time: Timestamp) -> String {
    match instant(time) {
        Some(instant) => instant.to_zoned(TimeZone::system()).strftime("%-d %b %Y").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// A time for programs: RFC 3339 in UTC.
///
/// What no calendar reaches is `@` and seconds since 1970.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    instant(time).map_or_else(|| format!("@{}", time.seconds), |instant| instant.to_string())
}

/// How long something took, in its two largest units.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{:.1} s", seconds.max(0.0)),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A time span in one unit, as people say it: `3 h`, `6 days`.
#[must_use]
pub fn coarse(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Seconds from `start` to `end`.
#[must_use]
pub fn seconds_between(start: Timestamp, end: Timestamp) -> f64 {
    (end.seconds as f64 - start.seconds as f64) + (f64::from(end.nanos) - f64::from(start.nanos)) / 1e9
}

/// A number in groups of three digits.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 snapshot`, `2 snapshots`.
#[must_use]
pub fn count(many: u64, one: &str, several: &str) -> String {
    format!("{} {}", number(many), if many == 1 { one } else { several })
}

/// The words of `text` in lines of at most `width` characters; a longer word has a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The type and permissions of an entry as `ls -l` shows them.
#[must_use]
pub fn mode(node: &Node) -> String {
    let mut text = String::with_capacity(10);
    text.push(match node.kind {
        NodeKind::File { .. } => '-',
        NodeKind::Directory { .. } => 'd',
        NodeKind::Symlink { .. } => 'l',
        NodeKind::CharDevice { .. } => 'c',
        NodeKind::BlockDevice { .. } => 'b',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
    });
    let bits = node.metadata.mode;
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let rwx = bits >> shift;
        text.push(if rwx & 4 == 0 { '-' } else { 'r' });
        text.push(if rwx & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & special != 0, rwx & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Owner and group, by name where they had one.
#[must_use]
pub fn owner(metadata: &Metadata) -> (String, String) {
    let shown = |text: &Option<std::sync::Arc<str>>, id: u32| {
        text.as_ref().map_or_else(|| id.to_string(), |text| line_text(text))
    };
    (shown(&metadata.user, metadata.uid), shown(&metadata.group, metadata.gid))
}

/// Size of a file, numbers of a device, or nothing.
#[must_use]
pub fn size(node: &Node) -> String {
    match &node.kind {
        NodeKind::File { size, .. } => ByteSize(*size).to_string(),
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => format!("{major}, {minor}"),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_move_the_cursor_or_end_the_line() {
        let cases: [(&[u8], &str); 8] = [
            (b"plain name", "plain name"),
            ("größe 日本".as_bytes(), "größe 日本"),
            (b"a\nb", "a\\nb"),
            (b"\x1b[31mred", "\\u{1b}[31mred"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("\u{202e}gpj.exe".as_bytes(), "\\u{202e}gpj.exe"),
            (b"dev\\x2ddisk", "dev\\x2ddisk"),
            (b"\x7f", "\\u{7f}"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(path_text(bytes), shown);
        }
    }

    #[test]
    fn times_are_of_the_zone_for_people_and_of_utc_for_programs() {
        let noon = Timestamp { seconds: 1_700_000_000, nanos: 5 };
        assert_eq!(time_in(noon, TimeZone::fixed(jiff::tz::offset(2))), "2023-11-15 00:13:20");
        assert_eq!(rfc3339(noon), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(rfc3339(Timestamp { seconds: i64::MAX, nanos: 0 }), "@9223372036854775807");
        assert_eq!(rfc3339(Timestamp { seconds: -1, nanos: 0 }), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        let cases =
            [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_799, "47 h"), (172_800, "2 days")];
        for (seconds, text) in cases {
            assert_eq!(coarse(seconds), text);
        }
    }

    #[test]
    fn durations_are_told_in_two_units() {
        let took = |seconds, nanos| duration(seconds_between(Timestamp::default(), Timestamp { seconds, nanos }));
        assert_eq!(took(0, 120_000_000), "0.1 s");
        assert_eq!(took(61, 0), "1 min 1 s");
        assert_eq!(took(7322, 0), "2 h 2 min");
        assert_eq!(took(-5, 0), "0.0 s");
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(number(999), "999");
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1000, "file", "files"), "1,000 files");
    }

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        assert_eq!(wrapped("one two  three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("unbreakable a b", 3), ["unbreakable", "a b"]);
        assert!(wrapped(" ", 9).is_empty());
    }

    #[test]
    fn modes_are_shown_as_ls_does() {
        let shown = |kind, bits| {
            let metadata = Metadata { mode: bits, ..Metadata::default() };
            mode(&Node { name: b"x".to_vec(), metadata, links: None, kind })
        };
        assert_eq!(shown(NodeKind::Fifo, 0o644), "prw-r--r--");
        assert_eq!(shown(NodeKind::Socket, 0o7777), "srwsrwsrwt");
        assert_eq!(shown(NodeKind::Symlink { target: Vec::new() }, 0o7000), "l--S--S--T");
    }
}
