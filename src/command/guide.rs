//! Guides: what to do in a situation, for `bk help TOPIC` and as pages of section 7 of the manual.
//!
//! Their text needs no tool to be read: `# ` begins a heading, the first of which is the title; `- ` begins an item of a
//! list; what is indented by four blanks stands as it is, such as commands and what they print; all else is paragraphs.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::ui::text::wrapped;

/// One guide.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Guide {
    /// What is typed for it.
    pub name: &'static str,
    /// As it was written.
    pub text: &'static str,
}

/// All of them, in the order in which somebody may need them.
pub(super) const GUIDES: [Guide; 6] = [
    Guide { name: "first-backup", text: include_str!("guides/first-backup.md") },
    Guide { name: "moving-to-b2", text: include_str!("guides/moving-to-b2.md") },
    Guide { name: "trouble", text: include_str!("guides/trouble.md") },
    Guide { name: "bare-machine", text: include_str!("guides/bare-machine.md") },
    Guide { name: "lost-password", text: include_str!("guides/lost-password.md") },
    Guide { name: "ransomware", text: include_str!("guides/ransomware.md") },
];

/// What stays while a text is cut into words: a blank inside of backticks.
const FIXED_BLANK: char = '\u{1}';

#[derive(Debug, PartialEq, Eq)]
enum Block {
    Heading(&'static str),
    Paragraph(String),
    Item(String),
    AsItStands(Vec<&'static str>),
}

impl Guide {
    /// The guide of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        GUIDES.iter().find(|guide| guide.name == name)
    }

    /// What it is about, in a line.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().map_or("", |line| line.trim_start_matches("# "))
    }

    /// The file name of its page.
    pub fn page_name(&self) -> String {
        format!("bk-{}.7", self.name)
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut is_new = true;
        for line in self.text.lines() {
            let (heading, item, as_it_stands) =
                (line.strip_prefix("# "), line.strip_prefix("- "), line.strip_prefix("    "));
            match (heading, item, as_it_stands, blocks.last_mut().filter(|_| !is_new)) {
                _ if line.is_empty() => {}
                (Some(heading), ..) => blocks.push(Block::Heading(heading)),
                (_, Some(item), ..) => blocks.push(Block::Item(item.to_owned())),
                (.., Some(line), Some(Block::AsItStands(lines))) => lines.push(line),
                (.., Some(line), _) => blocks.push(Block::AsItStands(vec![line])),
                (.., Some(Block::Paragraph(text) | Block::Item(text))) => {
                    text.push(' ');
                    text.push_str(line.trim_start());
                }
                _ => blocks.push(Block::Paragraph(line.to_owned())),
            }
            is_new = line.is_empty();
        }
        blocks
    }

    /// Its lines for a screen of `width` columns; headings as `paint` makes them.
    pub fn lines(&self, width: usize, paint: impl Fn(&str) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        let mut after_item = false;
        for block in self.blocks() {
            let is_item = matches!(block, Block::Item(_));
            // Items of a list stand together.
            let goes_on = lines.is_empty() || after_item && is_item;
            if !goes_on {
                lines.push(String::new());
            }
            match block {
                Block::Heading(text) => lines.push(paint(text)),
                Block::Paragraph(text) => lines.extend(filled(&text, width)),
                Block::Item(text) => {
                    let filled = filled(&text, width.saturating_sub(2));
                    let mark = |at: usize| if at == 0 { "- " } else { "  " };
                    lines.extend(filled.iter().enumerate().map(|(at, line)| format!("{}{line}", mark(at))));
                }
                Block::AsItStands(all) => lines.extend(all.iter().map(|line| format!("    {line}"))),
            }
            after_item = is_item;
        }
        lines
    }

    /// Its manual page.
    pub fn page(&self) -> Vec<u8> {
        let title = self.page_name().trim_end_matches(".7").to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        let mut page = format!(".TH {title} 7 \"\" \"bk {version}\" \"Backups with bk\"\n").into_bytes();
        let mut roff = Roff::default();
        roff.control("SH", ["NAME"]);
        roff.text([roman(format!("bk-{} - {}", self.name, self.title()))]);
        let mut blocks = self.blocks().into_iter().skip(1).peekable();
        if !matches!(blocks.peek(), Some(Block::Heading(_))) {
            roff.control("SH", ["DESCRIPTION"]);
        }
        let mut after_heading = true;
        for block in blocks {
            let is_heading = matches!(block, Block::Heading(_));
            match block {
                Block::Heading(text) => {
                    roff.control("SH", [text]);
                }
                Block::Paragraph(text) => {
                    if !after_heading {
                        roff.control("PP", []);
                    }
                    roff.text(inlines(&text));
                }
                Block::Item(text) => {
                    roff.control("IP", ["\\(bu", "2"]).text(inlines(&text));
                }
                Block::AsItStands(lines) => {
                    if !after_heading {
                        roff.control("PP", []);
                    }
                    roff.control("nf", []);
                    for line in lines {
                        roff.text([roman(format!("    {line}"))]);
                    }
                    roff.control("fi", []);
                }
            }
            after_heading = is_heading;
        }
        roff.control("SH", ["SEE ALSO"]);
        let others = GUIDES.iter().filter(|other| other.name != self.name).map(|other| (other.reference(), "7"));
        let all = [("bk".to_owned(), "1"), ("bk-help".to_owned(), "1"), ("bk.toml".to_owned(), "5")];
        roff.text(see_also(all.into_iter().chain(others)));
        // Writing into memory does not fail.
        let _ = roff.to_writer(&mut page);
        page
    }

    /// What other pages call it.
    pub fn reference(&self) -> String {
        format!("bk-{}", self.name)
    }
}

/// Pages and their sections, as the end of a page names them.
pub(super) fn see_also(pages: impl IntoIterator<Item = (String, &'static str)>) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for (name, section) in pages {
        if !inlines.is_empty() {
            inlines.push(roman(", "));
        }
        inlines.extend([bold(name), roman(format!("({section})"))]);
    }
    inlines
}

/// The text in lines of at most `width` characters. What stands in backticks is typed as it is, and not broken.
fn filled(text: &str, width: usize) -> Vec<String> {
    let parts: Vec<String> = text.split('`').enumerate().map(|(at, part)| fixed(at, part)).collect();
    wrapped(&parts.join("`"), width).into_iter().map(|line| line.replace(FIXED_BLANK, " ")).collect()
}

fn fixed(at: usize, part: &str) -> String {
    if at % 2 == 1 { part.replace(' ', FIXED_BLANK.encode_utf8(&mut [0; 4])) } else { part.to_owned() }
}

/// What stands in backticks is bold.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Guide = Guide {
        name: "small",
        text: "# Small\n\nOne two\nthree `four five` six.\n\n    bk check\n      more\n\n- a\n  b\n- c\n\n# End\n\nx\n",
    };

    #[test]
    fn what_is_indented_stands_as_it_is_and_the_rest_is_filled_without_breaking_a_command() {
        let lines = SMALL.lines(15, |heading| format!("<{heading}>"));
        let expected = [
            "<Small>",
            "",
            "One two three",
            "`four five`",
            "six.",
            "",
            "    bk check",
            "      more",
            "",
            "- a b",
            "- c",
            "",
            "<End>",
            "",
            "x",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_page_has_the_title_the_headings_and_where_to_read_on() {
        let page = String::from_utf8(SMALL.page()).unwrap();
        for part in [
            ".TH BK-SMALL 7 ",
            "\nbk\\-small \\- Small\n.SH DESCRIPTION\nOne two three \\fBfour five\\fR six.\n.PP\n.nf\n    bk check\n      more\n.fi\n",
            "\n.IP \\(bu 2\na b\n.IP \\(bu 2\nc\n.SH End\nx\n.SH \"SEE ALSO\"\n",
            "\\fBbk\\-trouble\\fR(7)",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn every_guide_has_a_title_and_pairs_of_backticks() {
        for guide in &GUIDES {
            assert!(guide.text.starts_with("# ") && guide.title().len() > 20, "{}", guide.name);
            for block in guide.blocks() {
                let (Block::Paragraph(text) | Block::Item(text)) = block else { continue };
                assert_eq!(text.matches('`').count() % 2, 0, "{}: {text}", guide.name);
            }
        }
    }
}
