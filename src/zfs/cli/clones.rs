//! Several `zfs clone` at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Cli;
use crate::zfs::{CloneOf, DatasetName, Error, Result, Setting, Zfs as _};

/// How many run at once. Each is a process that waits for two transaction
/// groups, which those that wait together share.
const AT_ONCE: usize = 16;

/// What is to be done to one of them.
#[derive(Clone, Copy)]
enum Work<'a> {
    /// It is made, without its settings where those come later.
    Make(&'a CloneOf),
    /// Its settings are made.
    Set(&'a CloneOf),
}

/// What is to be done, what is being done, and what went wrong first.
struct Queue<'a> {
    /// Which get their settings when they are there: those that others wait for, or all.
    later: Vec<&'a DatasetName>,
    waiting: Vec<Work<'a>>,
    making: Vec<&'a DatasetName>,
    running: usize,
    failure: Option<Error>,
}

impl<'a> Queue<'a> {
    fn of(clones: &'a [CloneOf], all_later: bool) -> Self {
        let is_later =
            |clone: &&CloneOf| clone.can_be_set_later() && (all_later || clone.is_parent(clones));
        let later = clones.iter().filter(is_later);
        Self {
            later: later.map(|clone| &clone.target).collect(),
            waiting: clones.iter().map(Work::Make).collect(),
            making: Vec::new(),
            running: 0,
            failure: None,
        }
    }

    /// What a clone is made with.
    fn settings(&self, clone: &'a CloneOf) -> &'a [Setting] {
        if self.later.contains(&&clone.target) {
            &[]
        } else {
            &clone.settings
        }
    }

    /// The next clone whose parent is not still to come; where there is none, settings.
    fn next(&mut self) -> Option<Work<'a>> {
        let index = self.waiting.iter().position(|work| match work {
            Work::Make(clone) => clone.target.parent().is_none_or(|parent| {
                !self.making.contains(&&parent)
                    && !self
                        .waiting
                        .iter()
                        .any(|other| matches!(other, Work::Make(other) if other.target == parent))
            }),
            Work::Set(_) => true,
        })?;
        let work = self.waiting.remove(index);
        if let Work::Make(clone) = work {
            self.making.push(&clone.target);
        }
        self.running += 1;
        Some(work)
    }

    fn ended(&mut self, work: Work<'a>, result: Result<()>) {
        self.running -= 1;
        if let Work::Make(clone) = work {
            self.making.retain(|target| **target != clone.target);
            if result.is_ok() && self.failure.is_none() && self.later.contains(&&clone.target) {
                self.waiting.push(Work::Set(clone));
            }
        }
        if let Err(error) = result {
            // Nobody begins anything else; the first failure is told.
            self.waiting.clear();
            self.failure.get_or_insert(error);
        }
    }
}

/// Makes the clones, each as soon as its parent is there.
pub(super) fn make(engine: &Cli, clones: &[CloneOf]) -> Result<()> {
    // Where none of them costs a process, what is set in a process of its own costs no more
    // than what is set with the clone, and no clone waits for it.
    let queue = Mutex::new(Queue::of(clones, engine.clones_itself()));
    let changed = Condvar::new();
    let work = || {
        let mut mine = locked(&queue);
        loop {
            if let Some(work) = mine.next() {
                let result = match work {
                    Work::Make(clone) => {
                        let settings = mine.settings(clone);
                        drop(mine);
                        engine.clone_one(clone, settings)
                    }
                    Work::Set(clone) => {
                        drop(mine);
                        engine.set(&clone.target, &clone.settings)
                    }
                };
                mine = locked(&queue);
                mine.ended(work, result);
                changed.notify_all();
            } else if mine.running == 0 {
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

    fn named(work: Option<Work<'_>>) -> Option<String> {
        work.map(|work| match work {
            Work::Make(clone) => format!("make {}", clone.target),
            Work::Set(clone) => format!("set {}", clone.target),
        })
    }

    #[test]
    fn a_child_waits_for_its_parent_alone_and_nothing_begins_after_a_failure() {
        let clones: Vec<CloneOf> = ["p/b", "p/b/x", "p/b/y", "p/b/x/z"].map(clone).into();
        let mut queue = Queue::of(&clones, false);
        let next = |queue: &mut Queue<'_>| named(queue.next());
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b"));
        assert_eq!(next(&mut queue), None);
        queue.ended(Work::Make(&clones[0]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x"));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/y"));
        assert_eq!(next(&mut queue), None);
        // The other one of its parent's level still runs.
        queue.ended(Work::Make(&clones[1]), Ok(()));
        let failure = Error::new(ErrorKind::NoSpace, "clone", "full");
        queue.ended(Work::Make(&clones[2]), Err(failure));
        assert_eq!(next(&mut queue), None);
        assert!(queue.failure.is_some());
    }

    #[test]
    fn what_has_clones_below_it_gets_its_settings_beside_them() {
        let mut clones: Vec<CloneOf> = ["p/b", "p/b/x", "p/b/x/z", "p/b/y", "p/b/y/z"]
            .map(clone)
            .into();
        let setting = |name: &str| vec![(name.to_owned(), "value".to_owned())];
        for (index, name) in [(1, "canmount"), (2, "canmount"), (3, "mountpoint")] {
            clones[index].settings = setting(name);
        }
        let mut queue = Queue::of(&clones, false);
        let next = |queue: &mut Queue<'_>| named(queue.next());
        queue.next();
        queue.ended(Work::Make(&clones[0]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x"));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/y"));
        queue.ended(Work::Make(&clones[1]), Ok(()));
        queue.ended(Work::Make(&clones[3]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x/z"));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/y/z"));
        assert_eq!(next(&mut queue).as_deref(), Some("set p/b/x"));
        assert_eq!(next(&mut queue), None);
        // One that ends after another one's failure gets none.
        let failure = Error::new(ErrorKind::NoSpace, "clone", "full");
        let mut queue = Queue::of(&clones, false);
        queue.next();
        queue.ended(Work::Make(&clones[0]), Ok(()));
        queue.next();
        queue.next();
        queue.ended(Work::Make(&clones[3]), Err(failure));
        queue.ended(Work::Make(&clones[1]), Ok(()));
        assert_eq!(next(&mut queue), None);
    }

    #[test]
    fn where_all_get_theirs_later_only_mountpoints_come_with_the_clone() {
        let mut clones: Vec<CloneOf> = ["p/b/x", "p/b/y", "p/b/z"].map(clone).into();
        for (clone, name) in clones.iter_mut().zip(["mountpoint", "canmount"]) {
            clone.settings = vec![(name.to_owned(), "value".to_owned())];
        }
        let queue = Queue::of(&clones, true);
        assert_eq!(queue.settings(&clones[0]), clones[0].settings);
        assert_eq!(queue.later, [&clones[1].target]);
        assert_eq!(queue.settings(&clones[1]), []);
    }
}
