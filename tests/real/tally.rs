//! What commands came to that something was done to at many points, as a table:
//! points × outcomes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::crash_table::{publish, say};
use crate::interruption::Trial;
use crate::ran::Ran;

/// What a disturbed command came to, looked at and recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It did what it was asked.
    Done,
    /// It said that nothing is left of it, and nothing is.
    Undone,
    /// It said that `recover` is needed, which took it back.
    TakenBack,
    /// It said that `recover` is needed, which completed it.
    Completed,
}

impl End {
    const ALL: [Self; 4] = [Self::Done, Self::Undone, Self::TakenBack, Self::Completed];
}

impl Trial {
    /// What a run says it left is what is there, the next command says so too,
    /// and `recover` needs no help. Then everything is as it was at first.
    pub fn end(&self, ran: &Ran, at: &str) -> End {
        let told = || format!("{at}: {ran:#?}");
        let end = match ran.exit {
            0 => {
                self.is(true, at);
                End::Done
            }
            1 | 3 | 5 => {
                self.is(false, &told());
                End::Undone
            }
            6 => {
                assert!(ran.stderr.contains("beadm-rs recover"), "{}", told());
                let unfinished = self.unfinished();
                let list = self.machine.run(&["list"]).succeeds();
                let said = "was interrupted; 'beadm-rs recover' completes it or takes it back";
                assert_eq!(list.stderr.contains(said), unfinished, "{}", told());
                let recovered = self.machine.run(&["recover"]).succeeds();
                if self.incomplete().is_empty() {
                    End::Completed
                } else {
                    self.is(false, &format!("{}, recovered: {recovered:#?}", told()));
                    End::TakenBack
                }
            }
            _ => panic!("{}", told()),
        };
        if matches!(end, End::Done | End::Completed) {
            self.restore();
        }
        end
    }
}

/// Counted by command, and by what was done to it.
#[derive(Debug, Default)]
pub struct Tally {
    rows: BTreeMap<(usize, String, &'static str), BTreeMap<End, usize>>,
    failed: Vec<String>,
}

impl Tally {
    /// One point: disturbs a command, which says how it was disturbed, and looks
    /// at what that came to. Where it is not as it should be, the other points
    /// are gone through all the same. `number` is the command's row.
    pub fn point(
        &mut self,
        number: usize,
        trial: &Trial,
        at: &str,
        disturbed: impl FnOnce() -> (Ran, &'static str),
    ) {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let (ran, what) = disturbed();
            (what, trial.end(&ran, at))
        }));
        match ended {
            Ok((what, end)) => {
                let command = trial.arguments.join(" ");
                let row = self.rows.entry((number, command, what)).or_default();
                *row.entry(end).or_default() += 1;
            }
            Err(_) => {
                // The panic's own message comes when the test is over.
                say(&format!("failed: {at}"));
                self.failed.push(at.to_owned());
                trial.restore();
            }
        }
    }

    /// Writes the table to where the lab keeps the files of a run, and its last
    /// line to standard output. Fails if a point did.
    pub fn tell(&self, name: &str) {
        let mut text = String::new();
        let mut line = |command: &str, what: &str, numbers: [String; 5]| {
            write!(text, "{command:<28} {what:<15}").unwrap();
            for number in numbers {
                write!(text, " {number:>9}").unwrap();
            }
            text.push('\n');
        };
        let heads = ["points", "done", "undone", "taken", "completed"].map(str::to_owned);
        line("command", "what", heads);
        let numbers = |row: &BTreeMap<End, usize>| {
            let [done, undone, taken, completed] =
                End::ALL.map(|end| row.get(&end).copied().unwrap_or_default());
            [
                done + undone + taken + completed,
                done,
                undone,
                taken,
                completed,
            ]
        };
        let mut total = BTreeMap::new();
        for ((_, command, what), row) in &self.rows {
            line(command, what, numbers(row).map(|number| number.to_string()));
            for (end, count) in row {
                *total.entry(*end).or_default() += count;
            }
        }
        let [points, done, undone, taken, completed] = numbers(&total);
        let summary = format!(
            "{name}: {points} points: {done} done, {undone} undone by the command itself, \
             {taken} taken back and {completed} completed by recover"
        );
        publish(name, &summary, &text);
        let failed = &self.failed;
        assert!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
    }
}
