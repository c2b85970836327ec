//! Several `zfs clone` at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Cli;
use crate::zfs::{CloneOf, DatasetName, Error, Result};

/// How many run at once. Each is a process that waits for two transaction
/// groups, which those that wait together share.
const AT_ONCE: usize = 16;

/// What is to be made, what is being made, and what went wrong first.
struct Queue<'a> {
    waiting: Vec<&'a CloneOf>,
    running: Vec<DatasetName>,
    failure: Option<Error>,
}

impl<'a> Queue<'a> {
    /// The next one whose parent is not still to come.
    fn next(&mut self) -> Option<&'a CloneOf> {
        let index = self.waiting.iter().position(|clone| {
            clone.target.parent().is_none_or(|parent| {
                !self.running.contains(&parent)
                    && !self.waiting.iter().any(|other| other.target == parent)
            })
        })?;
        let clone = self.waiting.remove(index);
        self.running.push(clone.target.clone());
        Some(clone)
    }

    fn ended(&mut self, clone: &CloneOf, result: Result<()>) {
        self.running.retain(|target| *target != clone.target);
        if let Err(error) = result {
            // Nobody begins another one; the first failure is told.
            self.waiting.clear();
            self.failure.get_or_insert(error);
        }
    }
}

/// Makes the clones, each as soon as its parent is there.
pub(super) fn make(engine: &Cli, clones: &[CloneOf]) -> Result<()> {
    let queue = Mutex::new(Queue {
        waiting: clones.iter().collect(),
        running: Vec::new(),
        failure: None,
    });
    let changed = Condvar::new();
    let work = || {
        let mut mine = locked(&queue);
        loop {
            if let Some(clone) = mine.next() {
                drop(mine);
                let result = engine.clone_one(clone);
                mine = locked(&queue);
                mine.ended(clone, result);
                changed.notify_all();
            } else if mine.running.is_empty() {
                return;
            } else {
                mine = changed.wait(mine).unwrap_or_else(PoisonError::into_inner);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(clones.len()) {
            scope.spawn(work);
        }
        work();
    });
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    queue.failure.map_or(Ok(()), Err)
}

fn locked<'a, 'q>(queue: &'a Mutex<Queue<'q>>) -> MutexGuard<'a, Queue<'q>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::ErrorKind;

    fn clone(target: &str) -> CloneOf {
        CloneOf {
            snapshot: "p/a@s".parse().unwrap(),
            target: target.parse().unwrap(),
            settings: Vec::new(),
        }
    }

    #[test]
    fn a_child_waits_for_its_parent_alone_and_nothing_begins_after_a_failure() {
        let clones: Vec<CloneOf> = ["p/b", "p/b/x", "p/b/y", "p/b/x/z"].map(clone).into();
        let mut queue = Queue {
            waiting: clones.iter().collect(),
            running: Vec::new(),
            failure: None,
        };
        let next = |queue: &mut Queue<'_>| queue.next().map(|clone| clone.target.to_string());
        assert_eq!(next(&mut queue).as_deref(), Some("p/b"));
        assert_eq!(next(&mut queue), None);
        queue.ended(&clones[0], Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("p/b/x"));
        assert_eq!(next(&mut queue).as_deref(), Some("p/b/y"));
        assert_eq!(next(&mut queue), None);
        // The other one of its parent's level still runs.
        queue.ended(&clones[1], Ok(()));
        let failure = Error::new(ErrorKind::NoSpace, "clone", "full");
        queue.ended(&clones[2], Err(failure));
        assert_eq!(next(&mut queue), None);
        assert!(queue.failure.is_some());
    }
}
