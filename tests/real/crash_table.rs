//! What the crash tests found, as a table: places × outcomes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// What is left after a power cut, and after `recover` then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As if it had never been asked, and nothing is recorded.
    Old,
    /// `recover` made it so.
    TakenBack,
    /// `recover` went on with it to its end.
    Completed,
    /// As if nothing had happened.
    New,
}

impl Outcome {
    /// It ends with what was asked for.
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Completed | Self::New)
    }
}

/// A row: a step, with what comes after it until the next one.
#[derive(Debug, Default, Clone)]
pub struct Row {
    /// Writes that the power was cut after.
    pub writes: usize,
    /// Random instants, inside writes and with unflushed writes lost.
    pub random: usize,
    /// States of the pools that were opened and checked.
    pub states: usize,
    /// Instants by what they ended with.
    pub outcomes: BTreeMap<Outcome, usize>,
}

/// All rows of a test.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, String, Row)>,
}

impl Table {
    /// The row of a step, new at its first mention.
    pub fn row(&mut self, command: &str, step: &str) -> &mut Row {
        let index = self
            .rows
            .iter()
            .position(|(of, name, _)| of == command && name == step)
            .unwrap_or_else(|| {
                self.rows
                    .push((command.to_owned(), step.to_owned(), Row::default()));
                self.rows.len() - 1
            });
        &mut self.rows[index].2
    }

    /// Writes it to where the lab keeps the files of a run, and its last line to
    /// standard output.
    pub fn tell(&self, name: &str, remark: &str) {
        let mut text = String::new();
        let columns = |text: &mut String, words: [&str; 9]| {
            let [command, step, numbers @ ..] = words;
            write!(text, "{command:<26} {step:<20}").unwrap();
            for number in numbers {
                write!(text, " {number:>9}").unwrap();
            }
            text.push('\n');
        };
        columns(
            &mut text,
            [
                "command",
                "step",
                "writes",
                "random",
                "states",
                "old",
                "taken",
                "completed",
                "new",
            ],
        );
        let mut total = Row::default();
        let mut line = |command: &str, step: &str, row: &Row| {
            let outcome = |outcome| {
                row.outcomes
                    .get(&outcome)
                    .copied()
                    .unwrap_or_default()
                    .to_string()
            };
            columns(
                &mut text,
                [
                    command,
                    step,
                    &row.writes.to_string(),
                    &row.random.to_string(),
                    &row.states.to_string(),
                    &outcome(Outcome::Old),
                    &outcome(Outcome::TakenBack),
                    &outcome(Outcome::Completed),
                    &outcome(Outcome::New),
                ],
            );
        };
        for (command, step, row) in &self.rows {
            line(command, step, row);
            total.writes += row.writes;
            total.random += row.random;
            total.states += row.states;
            for (outcome, count) in &row.outcomes {
                *total.outcomes.entry(*outcome).or_default() += count;
            }
        }
        line("all", "", &total);
        let count = |outcome| total.outcomes.get(&outcome).copied().unwrap_or_default();
        let summary = format!(
            "{name}: {} instants ({} after writes and marks, {} at random), {remark}: \
             {} old, {} taken back and {} completed by recover, {} new",
            total.writes + total.random,
            total.writes,
            total.random,
            count(Outcome::Old),
            count(Outcome::TakenBack),
            count(Outcome::Completed),
            count(Outcome::New),
        );
        publish(name, &summary, &text);
    }
}

/// A line on standard output, past what libtest holds back.
pub fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{line}").unwrap();
}

/// Writes a table to where the lab keeps the files of a run, and what it sums up
/// to on standard output.
pub fn publish(name: &str, summary: &str, table: &str) {
    say(summary);
    let directory = std::path::Path::new("/run/lab/result");
    if directory.is_dir() {
        let text = format!("{summary}\n{table}");
        std::fs::write(directory.join(format!("{name}.txt")), text).unwrap();
    }
}
