//! Progress on a terminal: one line with a bar, one with the entry that is being worked on, warnings above them.
//!
//! A thread draws ten times a second; those who work only count (see [`super::tally`]). indicatif moves the cursor and
//! takes lines away again; what stands in them is [`super::line`]'s.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::line::{ASCII, Glyphs, UNICODE, bar_line, path_line};
use super::tally::{Pace, Tally};
use super::ticker::Ticker;
use crate::progress::Progress;

/// What takes less time is not drawn at all.
const FIRST_DRAW: Duration = Duration::from_millis(250);
const PERIOD: Duration = Duration::from_millis(100);

/// The bar that is on the terminal now, if one is: whoever else writes there asks it to step aside.
#[derive(Clone, Default)]
pub(super) struct Stage(Arc<Mutex<Option<ProgressBar>>>);

impl Stage {
    fn set(&self, bar: Option<ProgressBar>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bar;
    }

    /// Runs `write` while nothing is drawn; what it writes stays above the bar.
    pub fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        let bar = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// Draws progress on the terminal that is standard error.
pub(super) struct Bars {
    tally: Arc<Tally>,
    ticker: Ticker,
    bar: ProgressBar,
    stage: Stage,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

impl Bars {
    /// Begins to draw in a moment; `warn` writes a warning, and the bar is put aside while it does.
    pub fn new(what: &str, stage: Stage, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self::on(ProgressDrawTarget::stderr(), FIRST_DRAW, what, stage, warn)
    }

    fn on(
        target: ProgressDrawTarget,
        first: Duration,
        what: &str,
        stage: Stage,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let tally = Arc::new(Tally::new());
        tally.phase(what, None);
        let bar = ProgressBar::with_draw_target(None, target);
        stage.set(Some(bar.clone()));
        let mut painter = Painter::new(bar.clone(), Arc::clone(&tally));
        let ticker = Ticker::start(first, PERIOD, move || painter.paint());
        Self { tally, ticker, bar, stage, warn: Box::new(warn) }
    }
}

impl Progress for Bars {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.tally.phase(name, total_bytes);
    }

    fn total(&self, items: u64, bytes: u64) {
        self.tally.total(items, bytes);
    }

    fn wants_total(&self) -> bool {
        true
    }

    fn advance(&self, items: u64, bytes: u64) {
        self.tally.advance(items, bytes);
    }

    fn current(&self, path: &[u8]) {
        self.tally.current(path);
    }

    fn warn(&self, message: &str) {
        // The screen's own way of warning puts the bar aside.
        (self.warn)(message);
    }

    fn finish(&self) {
        self.ticker.stop();
        self.bar.finish_and_clear();
        self.stage.set(None);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The two lines as they are drawn next.
type Lines = Arc<Mutex<[String; 2]>>;

struct Painter {
    bar: ProgressBar,
    tally: Arc<Tally>,
    lines: Lines,
    pace: Pace,
    glyphs: Glyphs,
    turn: usize,
    /// Rows and columns that were drawn last; no rows when nothing was.
    drawn: (usize, usize),
}

/// `rows` lines, each written by the thread that draws.
fn style(lines: &Lines, rows: usize) -> ProgressStyle {
    let template = if rows == 1 { "{first}" } else { "{first}\n{second}" };
    let key = |at: usize| {
        let lines = Arc::clone(lines);
        move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = out.write_str(lines.get(at).map_or("", String::as_str));
        }
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("first", key(0))
        .with_key("second", key(1))
}

impl Painter {
    fn new(bar: ProgressBar, tally: Arc<Tally>) -> Self {
        let lines = Lines::default();
        bar.set_style(style(&lines, 1));
        let glyphs = if speaks_unicode() { UNICODE } else { ASCII };
        Self { bar, tally, lines, pace: Pace::default(), glyphs, turn: 0, drawn: (0, 0) }
    }

    fn paint(&mut self) {
        if !in_foreground() {
            return;
        }
        let width = terminal_width();
        let view = self.tally.view();
        self.pace.update(&view);
        // Not into the last column: some terminals go to the next line there.
        let room = width.saturating_sub(1);
        let first = bar_line(&view, &self.pace, room, self.turn, &self.glyphs);
        let second = if view.current.is_empty() { String::new() } else { path_line(&view.current, room, &self.glyphs) };
        let rows = 1 + usize::from(!second.is_empty());
        self.after_resize(width);
        if rows != self.drawn.0 {
            self.bar.set_style(style(&self.lines, rows));
        }
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = [first, second];
        self.turn = self.turn.wrapping_add(1);
        self.drawn = (rows, width);
        self.bar.tick();
    }

    /// A terminal that became narrower or wider has broken the lines anew, and indicatif would take away the wrong
    /// ones: takes away what there is now. (What it writes is one long line to the terminal, padded with spaces.)
    fn after_resize(&self, width: usize) {
        let (rows, old_width) = self.drawn;
        if rows == 0 || old_width == width || width == 0 {
            return;
        }
        let rows_now = (rows * old_width).div_ceil(width);
        let mut out = std::io::stderr().lock();
        let _ = match rows_now.checked_sub(rows) {
            // indicatif goes up `rows - 1` from where the cursor is and clears from there.
            Some(0) => Ok(()),
            Some(more) => write!(out, "\r\x1b[{}A\x1b[J{}", rows + more - 1, "\n".repeat(rows - 1)),
            None => write!(out, "{}", "\n".repeat(rows - rows_now)),
        };
    }
}

/// Columns of the terminal, 80 when it does not say.
fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}

/// Whether the terminal is ours to draw on: a shell has it while the program runs in the background.
fn in_foreground() -> bool {
    let owner = rustix::termios::tcgetpgrp(std::io::stderr());
    owner.map_or(true, |owner| owner == rustix::process::getpgrp())
}

/// Whether the locale says that the terminal shows Unicode.
fn speaks_unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that tells what is written to it.
    #[derive(Debug)]
    struct Told(Mutex<Sender<String>>);

    impl Told {
        fn tell(&self, text: &str) -> io::Result<()> {
            let _ = self.0.lock().unwrap().send(text.to_owned());
            Ok(())
        }
    }

    impl TermLike for Told {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.tell(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.tell(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            self.tell("<clear>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn bars() -> (Bars, Receiver<String>) {
        let (sender, told) = channel();
        let target = ProgressDrawTarget::term_like(Box::new(Told(Mutex::new(sender.clone()))));
        let stage = Stage::default();
        let warnings = (Mutex::new(sender), stage.clone());
        let warn = move |text: &str| {
            let (sender, stage) = &warnings;
            stage.aside(|| sender.lock().unwrap().send(format!("warning {text}")).unwrap());
        };
        (Bars::on(target, Duration::ZERO, "backup", stage, warn), told)
    }

    fn wait_for(told: &Receiver<String>, part: &str) {
        while !told.recv_timeout(Duration::from_secs(10)).unwrap().contains(part) {}
    }

    #[test]
    fn what_is_done_is_drawn_and_taken_away_at_the_end() {
        let (bars, told) = bars();
        bars.phase("reading", Some(100));
        bars.advance(1, 50);
        wait_for(&told, "reading  50%");
        bars.current(b"/srv/wiki\n");
        wait_for(&told, "  /srv/wiki\\n");
        bars.finish();
        let rest: Vec<String> = told.try_iter().collect();
        assert_eq!(rest.last().map(String::as_str), Some("<clear>"), "{rest:?}");
        bars.finish();
        drop(bars);
    }

    #[test]
    fn a_warning_is_written_while_the_bar_is_away_and_the_bar_comes_back() {
        let (bars, told) = bars();
        wait_for(&told, "backup");
        bars.ticker.stop();
        told.try_iter().for_each(drop);
        bars.warn("disk on fire");
        let written: Vec<String> = told.try_iter().collect();
        assert_eq!(written.iter().position(|text| text == "<clear>"), Some(0), "{written:?}");
        assert_eq!(written.get(1).map(String::as_str), Some("warning disk on fire"));
        assert!(written.iter().skip(2).any(|text| text.contains("backup")), "{written:?}");
    }
}
