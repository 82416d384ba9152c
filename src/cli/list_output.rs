//! Prints a list while it is being read: a table for people, or one JSON array.

use std::io::{self, Write};

use serde::Serialize;

use super::output::{CliResult, escape_text, ignore_broken_pipe, print_line};
use super::table::TextTable;
use super::terminal;
use crate::base::escape::escape_json;

/// Rows are printed as soon as they are found.
pub(super) struct ListOutput<'a> {
    /// Without a header the rows are printed as JSON.
    header: Option<&'a [&'a str]>,
    has_rows: bool,
}

impl<'a> ListOutput<'a> {
    pub(super) fn json() -> Self {
        Self { header: None, has_rows: false }
    }

    pub(super) fn table(header: &'a [&'a str]) -> Self {
        Self { header: Some(header), has_rows: false }
    }

    pub(super) fn print_rows<T: Serialize>(&mut self, rows: &[T], cells: impl Fn(&T) -> Vec<String>) -> CliResult {
        if rows.is_empty() {
            return Ok(());
        }
        match self.header {
            Some(header) => self.print_table(header, rows.iter().map(cells).collect())?,
            None => self.print_json(rows)?,
        }
        self.has_rows = true;
        ignore_broken_pipe(io::stdout().flush())
    }

    fn print_table(&self, header: &[&str], rows: Vec<Vec<String>>) -> CliResult {
        let columns = terminal::columns();
        let escape_row = |row: Vec<String>| row.iter().map(|cell| escape_text(cell).into_owned()).collect();
        let lines = TextTable::new(header, rows.into_iter().map(escape_row).collect()).into_lines(columns);
        // A program that reads the lines expects one header. On a terminal each part is a separate table.
        let repeats_header = self.has_rows && columns.is_none();
        lines.into_iter().skip(usize::from(repeats_header)).try_for_each(print_line)
    }

    /// The same text as that of the whole array.
    fn print_json<T: Serialize>(&self, rows: &[T]) -> CliResult {
        let array = serde_json::to_string_pretty(rows)?;
        let elements = array.trim_start_matches('[').trim_end_matches(']').trim_end();
        let start = if self.has_rows { "," } else { "[" };
        ignore_broken_pipe(write!(io::stdout().lock(), "{start}{}", escape_json(elements)))
    }

    /// Ends the list; `empty` is the text of a table without rows.
    pub(super) fn finish(self, empty: &str) -> CliResult {
        match (self.header, self.has_rows) {
            (None, false) => print_line("[]"),
            (None, true) => print_line("\n]"),
            (Some(_), false) => print_line(empty),
            (Some(_), true) => Ok(()),
        }
    }
}
