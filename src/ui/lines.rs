//! Many lines at once: a list of a million entries is not a million writes.

use super::Screen;

/// Lines are gathered up to so many bytes.
const GATHERED: usize = 32 << 10;

/// Gathers lines of a command's result; what is gathered is written when this is dropped.
pub struct Lines<'a> {
    screen: &'a Screen,
    gathered: String,
}

impl<'a> Lines<'a> {
    /// Lines for the standard output.
    #[must_use]
    pub const fn new(screen: &'a Screen) -> Self {
        Self { screen, gathered: String::new() }
    }

    /// Adds a line.
    pub fn line(&mut self, text: &str) {
        self.gathered.push_str(text);
        self.gathered.push('\n');
        if self.gathered.len() >= GATHERED {
            self.flush();
        }
    }

    /// Adds a JSON object on a line of its own.
    pub fn json(&mut self, object: serde_json::Map<String, serde_json::Value>) {
        self.line(&serde_json::Value::Object(object).to_string());
    }

    fn flush(&mut self) {
        self.screen.bytes(self.gathered.as_bytes());
        self.gathered.clear();
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
