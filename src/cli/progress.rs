//! Draws the progress of an operation on stderr.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::operations::Progress;

/// A callback that draws one bar per step, and only when stderr is a terminal. The bar disappears with the callback.
pub(super) fn draw_progress() -> impl FnMut(Progress) + Send {
    let mut bar = ProgressBar::hidden();
    let mut current_step = None;
    move |Progress { step, done, total }| {
        if !stderr().is_terminal() {
            return;
        }
        if current_step.replace(step) != Some(step) || done < bar.position() {
            bar.finish_and_clear();
            bar = progress_bar(step, total);
        }
        bar.set_position(done);
    }
}

fn progress_bar(step: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {msg}, {per_sec}, {eta} left");
    ProgressBar::new(total)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(step)
        .with_finish(ProgressFinish::AndClear)
}
