//! How many operations came to what.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::time::Instant;

/// Counts what was compared.
#[derive(Debug)]
pub struct Tally {
    histories: usize,
    differing: usize,
    /// By what an operation came to.
    outcomes: BTreeMap<String, usize>,
    begun: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            histories: 0,
            differing: 0,
            outcomes: BTreeMap::new(),
            begun: Instant::now(),
        }
    }
}

impl Tally {
    /// One operation came to this.
    pub fn count(&mut self, outcome: &str) {
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
    }

    /// One history is over.
    pub fn history(&mut self, differs: bool) {
        self.histories += 1;
        self.differing += usize::from(differs);
    }

    /// Prints it, which libtest would keep to itself for a test that passes.
    pub fn print(&self, of: &str) {
        let line = format!("\ndifferential: {of}: {self}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations: usize = self.outcomes.values().sum();
        write!(
            f,
            "{} histories, {} of them differ; {operations} operations in {} s",
            self.histories,
            self.differing,
            self.begun.elapsed().as_secs()
        )?;
        for (outcome, count) in &self.outcomes {
            write!(f, ", {count} {outcome}")?;
        }
        Ok(())
    }
}
