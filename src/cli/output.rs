//! Tables, sizes, times, plans and JSON, written to any writer.

use std::io::{self, Write};

use chrono::{DateTime, Local};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::plan::Plan;

/// Writes rows in columns, each as wide as its widest cell; the last one is
/// not padded.
///
/// # Errors
/// Where the writer fails.
pub fn table(out: &mut impl Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&header).chain(rows);
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.width())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in all() {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if index + 1 < row.len() {
                let width = widths.get(index).copied().unwrap_or(0);
                let pad = width.saturating_sub(cell.width()) + 2;
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes rows for scripts: tabs between cells, which themselves hold none.
///
/// # Errors
/// Where the writer fails.
pub fn tabs(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| one_line(cell)).collect();
        writeln!(out, "{}", cells.join("\t"))?;
    }
    Ok(())
}

/// A text in one line: control characters as spaces.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A number of bytes, for people in human units.
#[must_use]
pub fn space(exact: bool, bytes: u64) -> String {
    match exact {
        true => bytes.to_string(),
        false => size(bytes),
    }
}

/// Bytes for people, as zfs(8) writes them: 1.21G, 532K, 0B.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let suffix = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        format!("{bytes}{suffix}")
    } else if value < 9.995 {
        format!("{value:.2}{suffix}")
    } else if value < 99.95 {
        format!("{value:.1}{suffix}")
    } else {
        format!("{value:.0}{suffix}")
    }
}

/// A time for people: local, to the minute.
#[must_use]
pub fn time(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map(|time| {
            time.with_timezone(&Local)
                .format("%Y-%m-%d %H:%M")
                .to_string()
        })
        .unwrap_or_else(|| "-".to_owned())
}

/// Writes an object with its schema first.
///
/// # Errors
/// Where the writer fails.
pub fn json(out: &mut impl Write, what: &str, content: Value) -> io::Result<()> {
    let mut object = serde_json::Map::new();
    object.insert("schema".to_owned(), format!("beadm-rs/{what}/v1").into());
    if let Value::Object(content) = content {
        object.extend(content);
    }
    serde_json::to_writer_pretty(&mut *out, &Value::Object(object))?;
    writeln!(out)
}

/// Writes a plan as a person reads it: a line per step, the commit point
/// marked.
///
/// # Errors
/// Where the writer fails.
pub fn plan(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    if plan.steps.is_empty() {
        return writeln!(out, "{}: nothing to do: {}", plan.operation, plan.outcome);
    }
    writeln!(out, "{}, operation {}:", plan.operation, plan.id)?;
    let width = plan
        .steps
        .iter()
        .map(|step| step.name.len())
        .max()
        .unwrap_or(0);
    for (index, step) in plan.steps.iter().enumerate() {
        let mark = if step.commit { '*' } else { ' ' };
        writeln!(
            out,
            "{:>3}. {mark} {:width$}  {}",
            index + 1,
            step.name,
            step.action
        )?;
    }
    for note in &plan.notes {
        writeln!(out, "     note: {note}")?;
    }
    let commit = plan.steps.iter().position(|step| step.commit);
    if plan.operation != "recover"
        && let Some(index) = commit
    {
        let before = match index {
            0 => "all or nothing; from then on nothing is taken back",
            _ => "before it everything is undone on failure",
        };
        writeln!(out, "     * the commit point: {before}")?;
    }
    writeln!(out, "     then: {}", plan.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (10_240, "10.0K"),
            (102_400, "100K"),
            (1_299_227_607, "1.21G"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_ends_without_spaces() {
        let mut out = Vec::new();
        let rows = vec![
            vec!["a".to_owned(), "über".to_owned(), "x".to_owned()],
            vec!["long".to_owned(), "b".to_owned(), String::new()],
        ];
        table(&mut out, &["NAME", "B", "C"], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME  B     C\na     über  x\nlong  b\n"
        );
    }
}
