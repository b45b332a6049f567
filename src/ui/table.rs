//! Tables: columns as wide as their widest cell.

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a line of titles.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
    titled: bool,
}

impl Table {
    /// A table with a title over each column.
    #[must_use]
    pub fn new(titles: &[(&str, Align)]) -> Self {
        let row = titles.iter().map(|(title, _)| (*title).to_owned()).collect();
        Self { columns: titles.iter().map(|(_, align)| *align).collect(), rows: vec![row], titled: true }
    }

    /// A table of columns without titles.
    #[must_use]
    pub fn untitled(columns: &[Align]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), titled: false }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is no row under the titles.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() == usize::from(self.titled)
    }

    /// Its lines, without spaces at their ends.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let width = |text: &str| text.chars().count();
        let width_of =
            |at: usize| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.columns.len()).map(width_of).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((cell, align), widest) in row.iter().zip(&self.columns).zip(&widths) {
                let room = " ".repeat(widest.saturating_sub(width(cell)));
                let (before, after) = if *align == Align::Right { (room.as_str(), "") } else { ("", room.as_str()) };
                line.extend([before, cell, after, "  "]);
            }
            line.truncate(line.trim_end().len());
            line
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_characters() {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right), ("", Align::Left)]);
        assert!(table.is_empty());
        table.row(["größer".into(), "1".into(), "x".into()]);
        table.row(["a".into(), "12345".into(), String::new()]);
        assert_eq!(table.lines(), ["NAME     SIZE", "größer      1  x", "a       12345"]);
        assert!(!table.is_empty());
    }
}
