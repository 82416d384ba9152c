//! Lays out a table for a terminal or a pipe.

use comfy_table::{ContentArrangement, Table, TableStyle};

/// Longer cells do not widen their column.
const MAX_COLUMN_CHARS: usize = 40;
/// Cells that are wrapped into narrower columns than this cannot be read.
const MIN_WRAPPED_CHARS: usize = 12;
const SEPARATOR: &str = "  ";

/// A table of escaped texts.
pub(super) struct TextTable<'a> {
    header: Vec<&'a str>,
    rows: Vec<Vec<String>>,
}

impl<'a> TextTable<'a> {
    pub(super) fn new(header: &[&'a str], rows: Vec<Vec<String>>) -> Self {
        Self { header: header.to_vec(), rows }
    }

    /// The lines for a terminal with this many columns. `None` is a pipe or a file.
    pub(super) fn into_lines(mut self, terminal_columns: Option<usize>) -> Vec<String> {
        let Some(columns) = terminal_columns else { return self.unwrapped_lines() };
        if self.width() > columns {
            self.remove_empty_columns();
        }
        if self.is_readable_within(columns) { self.wrapped_lines(columns) } else { self.record_lines() }
    }

    /// Characters of each column, not counting cells above the limit.
    fn column_widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let longest = cells.filter(|length| *length <= MAX_COLUMN_CHARS).max().unwrap_or(0);
            longest.max(self.header[column].chars().count())
        };
        (0..self.header.len()).map(width).collect()
    }

    fn width(&self) -> usize {
        self.column_widths().iter().sum::<usize>() + SEPARATOR.len() * self.header.len().saturating_sub(1)
    }

    fn remove_empty_columns(&mut self) {
        let has_value = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.any(|cell| !matches!(cell.as_str(), "" | "-"))
        };
        let kept: Vec<usize> = (0..self.header.len()).filter(|column| has_value(*column)).collect();
        self.header = kept.iter().map(|column| self.header[*column]).collect();
        for row in &mut self.rows {
            *row = kept.iter().filter_map(|column| row.get(*column).cloned()).collect();
        }
    }

    /// Whether the columns that have to be wrapped keep enough characters when they share the room that the others leave.
    fn is_readable_within(&self, columns: usize) -> bool {
        let mut widths = self.column_widths();
        widths.sort_unstable();
        let mut room = columns.saturating_sub(SEPARATOR.len() * widths.len().saturating_sub(1));
        for (position, width) in widths.iter().enumerate() {
            let share = room / (widths.len() - position);
            if *width > share {
                return share >= MIN_WRAPPED_CHARS;
            }
            room -= width;
        }
        true
    }

    /// A table in which long cells take several lines.
    fn wrapped_lines(self, columns: usize) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(TableStyle::new()).set_header(self.header).add_rows(self.rows);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // The space before the first column is removed.
        table.set_width(u16::try_from(columns + 1).unwrap_or(u16::MAX));
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect()
    }

    /// One line per row. A cell that is longer than its column moves the rest of its row only.
    fn unwrapped_lines(&self) -> Vec<String> {
        let widths = self.column_widths();
        let line = |cells: Vec<&str>| {
            let cells: Vec<_> = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            cells.join(SEPARATOR).trim_end().to_owned()
        };
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        std::iter::once(line(self.header.clone())).chain(rows).collect()
    }

    /// One line per cell that has a value, and an empty line between two rows.
    fn record_lines(&self) -> Vec<String> {
        let width = self.header.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let record = |row: &Vec<String>| {
            let cells = self.header.iter().zip(row).filter(|(_, cell)| !matches!(cell.as_str(), "" | "-"));
            cells.map(|(name, cell)| format!("{name:width$}{SEPARATOR}{cell}")).collect::<Vec<_>>()
        };
        let records: Vec<Vec<String>> = self.rows.iter().map(record).collect();
        records.join(&String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[[&str; 4]], columns: Option<usize>) -> Vec<String> {
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        TextTable::new(&["TIME", "ID", "COST", "STATE"], rows).into_lines(columns)
    }

    #[test]
    fn a_long_cell_widens_no_other_row() {
        let long = "x".repeat(200);
        let printed = lines(&[["10:00", &long, "-", "stored"], ["10:01", "evt_2", "-", "dead"]], None);
        assert_eq!(printed[0], "TIME   ID     COST  STATE");
        assert_eq!(printed[1], format!("10:00  {long}  -     stored"));
        assert_eq!(printed[2], "10:01  evt_2  -     dead");
    }

    #[test]
    fn a_terminal_gets_no_line_that_is_too_long() {
        let id = "x".repeat(200);
        for columns in [30, 31, 60, 80, 300] {
            let printed = lines(&[["10:00", &id, "12", "stored"]], Some(columns));
            assert!(printed.iter().all(|line| line.chars().count() <= columns), "{columns}: {printed:#?}");
            let shown: usize = printed.iter().map(|line| line.matches('x').count()).sum();
            assert_eq!(shown, 200, "nothing is lost");
        }
    }

    #[test]
    fn columns_without_values_are_left_out_before_others_are_wrapped() {
        let row = ["10:00", "call_7c41d09e5b2f4a86b3e1", "-", "stored"];
        assert_eq!(lines(&[row], Some(80))[0], "TIME   ID                         COST  STATE");
        assert_eq!(lines(&[row], Some(42))[0], "TIME   ID                         STATE");
    }

    #[test]
    fn a_table_that_would_be_unreadable_becomes_records() {
        let printed =
            lines(&[["10:00", &"a".repeat(30), "-", &"b".repeat(30)], ["10:01", "evt_2", "-", "dead"]], Some(25));
        let expected = [
            "TIME   10:00",
            &format!("ID     {}", "a".repeat(30)),
            &format!("STATE  {}", "b".repeat(30)),
            "",
            "TIME   10:01",
            "ID     evt_2",
            "STATE  dead",
        ];
        assert_eq!(printed, expected);
    }
}
