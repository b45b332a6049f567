//! The lines that tell how far an operation is, fitted to the width there is. Text in, text out.

use std::fmt::Write as _;
use std::time::Duration;

use unicode_width::UnicodeWidthChar as _;

use super::tally::{Pace, View};
use crate::size::ByteSize;

/// The characters that bars are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyphs {
    full: &'static str,
    empty: &'static str,
    spinner: &'static [&'static str],
    ellipsis: &'static str,
}

/// For terminals that show Unicode.
pub(super) const UNICODE: Glyphs =
    Glyphs {
        full: "━", empty: "─", spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"], ellipsis: "…"
    };

/// For all others.
pub(super) const ASCII: Glyphs = Glyphs { full: "=", empty: "-", spinner: &["|", "/", "-", "\\"], ellipsis: "..." };

const MIN_BAR_WIDTH: usize = 8;
const MAX_BAR_WIDTH: usize = 30;

/// Columns that `text` takes on a terminal.
fn width_of(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// The bytes of a path as one harmless line: what would move the cursor, or turn the direction of writing, is escaped.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let turning = matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                || matches!(character, '\u{2066}'..='\u{2069}' | '\u{feff}');
            if character.is_control() || turning {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        let _ = write!(text, "{}", chunk.invalid().escape_ascii());
    }
    text
}

/// `text` in at most `width` columns; what is left out is left out in the middle, nearer to the beginning.
pub(super) fn shorten(text: &str, width: usize, glyphs: &Glyphs) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(width_of(glyphs.ellipsis));
    if room < 2 {
        return fitting(text.chars(), width);
    }
    let head = fitting(text.chars(), room / 3);
    let tail: String = fitting(text.chars().rev(), room - width_of(&head)).chars().rev().collect();
    format!("{head}{}{tail}", glyphs.ellipsis)
}

/// As many of `characters` as fit into `width` columns.
fn fitting(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    let fits = |character: &char| match left.checked_sub(character.width().unwrap_or(0)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    characters.take_while(fits).collect()
}

/// `0:07`, `12:34`, `1:02:03`, `4d 02h`.
pub(super) fn clock_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..100 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{}d {:02}h", hours / 24, hours % 24),
    }
}

/// `1.2 of 3.4 GiB`, or with two units where they differ.
fn bytes_text(view: &View) -> Option<String> {
    let done = ByteSize(view.bytes).to_string();
    let Some(total) = view.total_bytes.filter(|total| *total > 0) else {
        return (view.bytes > 0).then_some(done);
    };
    let total = ByteSize(total).to_string();
    let unit = |text: &str| text.rsplit_once(' ').map(|(number, unit)| (number.to_owned(), unit.to_owned()));
    Some(match (unit(&done), unit(&total)) {
        (Some((number, same)), Some((_, unit))) if same == unit => format!("{number}/{total}"),
        _ => format!("{done}/{total}"),
    })
}

fn items_text(view: &View) -> Option<String> {
    match view.total_items.filter(|total| *total > 0) {
        Some(total) => Some(format!("{}/{total} items", view.items)),
        None => (view.items > 0).then(|| format!("{} items", view.items)),
    }
}

fn percent(fraction: f64) -> u64 {
    // Rounded down: 100 % is when all is done.
    (fraction * 100.0) as u64
}

/// The parts after the bar, in the order in which they are shown, each with its rank: the lower stays longer.
fn parts(view: &View, pace: &Pace) -> Vec<(u8, String)> {
    let speed = Some(pace.bytes_per_second()).filter(|speed| *speed > 0);
    let all = [
        (1, bytes_text(view)),
        (4, speed.map(|speed| format!("{}/s", ByteSize(speed)))),
        (2, pace.remaining(view).map(|left| format!("{} left", clock_text(left)))),
        (if view.total_bytes.is_some_and(|total| total > 0) { 5 } else { 0 }, items_text(view)),
        (6, Some(clock_text(view.elapsed))),
    ];
    all.into_iter().filter_map(|(rank, text)| Some((rank, text?))).collect()
}

/// The line with the bar, or with a spinner while the total is unknown; at most `width` columns.
pub(super) fn bar_line(view: &View, pace: &Pace, width: usize, turn: usize, glyphs: &Glyphs) -> String {
    let fraction = view.fraction();
    let spinner = glyphs.spinner.get(turn % glyphs.spinner.len().max(1)).copied().unwrap_or_default();
    let end = fraction.map_or_else(|| spinner.to_owned(), |fraction| format!("{:3}%", percent(fraction)));
    let label = shorten(&view.phase, (width / 2).min(width.saturating_sub(end.len() + 1)), glyphs);
    let mut left = width.saturating_sub(width_of(&label) + width_of(&end) + 1);
    let all = parts(view, pace);
    let mut ranks: Vec<u8> = all.iter().map(|(rank, _)| *rank).collect();
    ranks.sort_unstable();
    let mut shown = Vec::new();
    let mut bar = fraction.map(|_| 0);
    for rank in ranks {
        if rank > 2 && bar == Some(0) {
            // The bar comes before the rest; it may yet grow.
            bar = left.checked_sub(MIN_BAR_WIDTH + 2).map(|rest| {
                left = rest;
                MIN_BAR_WIDTH
            });
        }
        let text = all.iter().find(|(other, _)| *other == rank).map_or("", |(_, text)| text);
        if let Some(rest) = left.checked_sub(width_of(text) + 2) {
            left = rest;
            shown.push(rank);
        }
    }
    let mut line = format!("{label} {end}");
    if let (Some(bar), Some(fraction)) = (bar.filter(|bar| *bar > 0), fraction) {
        let bar = (bar + left).min(MAX_BAR_WIDTH);
        let full = (fraction * bar as f64) as usize;
        let _ = write!(line, "  {}{}", glyphs.full.repeat(full), glyphs.empty.repeat(bar - full));
    }
    for (_, text) in all.iter().filter(|(rank, _)| shown.contains(rank)) {
        let _ = write!(line, "  {text}");
    }
    fitting(line.chars(), width)
}

/// The line with the current entry.
pub(super) fn path_line(path: &[u8], width: usize, glyphs: &Glyphs) -> String {
    format!("  {}", shorten(&printable(path), width.saturating_sub(2), glyphs))
}

/// A line for a log: everything, in words.
pub(super) fn log_line(what: &str, view: &View, pace: &Pace) -> String {
    let mut line = match view.phase.as_str() {
        "" => what.to_owned(),
        phase => format!("{what}: {phase}"),
    };
    if let Some(fraction) = view.fraction() {
        let _ = write!(line, ", {}%", percent(fraction));
    }
    for (_, text) in parts(view, pace) {
        let _ = write!(line, ", {text}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            phase: "backing up".into(),
            items: 12_345,
            bytes: 1_288_490_188,
            total_items: Some(67_890),
            total_bytes: Some(3_650_722_201),
            elapsed: Duration::from_secs(42),
            phase_elapsed: Duration::from_secs(40),
            current: Vec::new(),
        }
    }

    fn line(view: &View, width: usize) -> String {
        let mut pace = Pace::default();
        pace.update(view);
        let line = bar_line(view, &pace, width, 1, &UNICODE);
        assert!(width_of(&line) <= width, "{line}");
        line
    }

    #[test]
    fn the_line_says_less_where_there_is_less_room() {
        assert_eq!(
            line(&view(), 120),
            "backing up  35%  ━━━━━━━━━━────────────────────  1.2/3.4 GiB  30.7 MiB/s  1:13 left  12345/67890 items  0:42"
        );
        assert_eq!(
            line(&view(), 80),
            "backing up  35%  ━━──────  1.2/3.4 GiB  30.7 MiB/s  1:13 left  12345/67890 items"
        );
        assert_eq!(line(&view(), 60), "backing up  35%  ━━━━─────────  1.2/3.4 GiB  1:13 left  0:42");
        assert_eq!(line(&view(), 40), "backing up  35%  1.2/3.4 GiB  1:13 left");
        assert_eq!(line(&view(), 20), "backing up  35%");
        assert_eq!(line(&view(), 9), "b…up  35%");
        for width in 0..9 {
            line(&view(), width);
        }
    }

    #[test]
    fn without_a_total_there_is_a_spinner_with_counts() {
        let view = View { total_items: None, total_bytes: None, ..view() };
        assert_eq!(line(&view, 80), "backing up ⠙  1.2 GiB  30.7 MiB/s  12345 items  0:42");
        assert_eq!(line(&view, 40), "backing up ⠙  1.2 GiB  12345 items  0:42");
    }

    #[test]
    fn items_count_where_there_are_no_bytes() {
        let view = View { bytes: 0, total_bytes: None, ..view() };
        assert_eq!(line(&view, 60), "backing up  18%  ━━───────────  2:59 left  12345/67890 items");
        assert_eq!(line(&view, 40), "backing up  18%  12345/67890 items  0:42");
    }

    #[test]
    fn only_what_is_whole_is_100_percent() {
        let mut view = View { bytes: 3_650_722_200, ..view() };
        assert!(line(&view, 80).contains("99%"));
        view.bytes += 1;
        assert!(line(&view, 80).contains("100%"));
    }

    #[test]
    fn a_path_is_shortened_in_the_middle_by_columns_and_not_by_bytes() {
        assert_eq!(shorten("/srv/wiki/data/pages/start.txt", 20, &UNICODE), "/srv/w…ges/start.txt");
        assert_eq!(shorten("/srv/wiki/data/pages/start.txt", 20, &ASCII), "/srv/...es/start.txt");
        assert_eq!(shorten("/写真/二〇二六/春の海辺.jpg", 16, &UNICODE), "/写真…の海辺.jpg");
        assert_eq!(shorten("abcdef", 2, &UNICODE), "ab");
        assert_eq!(shorten("abcdef", 0, &UNICODE), "");
        assert_eq!(shorten("short", 5, &UNICODE), "short");
    }

    #[test]
    fn a_path_cannot_write_anything_but_itself() {
        let path = b"/a\x1b[2J\nb\r\xff\x00/\xe2\x80\xaegpj.exe/\xc2\x9b1m/caf\xc3\xa9";
        assert_eq!(printable(path), "/a\\u{1b}[2J\\nb\\r\\xff\\u{0}/\\u{202e}gpj.exe/\\u{9b}1m/café");
    }

    #[test]
    fn durations_are_read_like_a_clock() {
        let cases = [(7, "0:07"), (754, "12:34"), (3723, "1:02:03"), (352_800, "98:00:00"), (360_000, "4d 04h")];
        for (seconds, text) in cases {
            assert_eq!(clock_text(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_log_line_says_everything() {
        let mut pace = Pace::default();
        pace.update(&view());
        assert_eq!(
            log_line("backup", &view(), &pace),
            "backup: backing up, 35%, 1.2/3.4 GiB, 30.7 MiB/s, 1:13 left, 12345/67890 items, 0:42"
        );
        let view = View { elapsed: Duration::from_secs(30), ..View::default() };
        assert_eq!(log_line("check", &view, &Pace::default()), "check, 0:30");
    }
}
