//! Several `zfs clone` at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Cli;
use crate::zfs::{CloneOf, DatasetName, Error, PoolName, Result, SyncOp, Zfs};

/// How many run at once. Each is a process that waits for two transaction
/// groups, which those that wait together share.
const AT_ONCE: usize = 16;

/// How many datasets one `zfs set` is given, each of which takes it a transaction group: as
/// many as a clone with settings takes, beside which it runs.
const SET_TOGETHER: usize = 2;

/// Operations that wait for none of the clones.
type Beside<'a> = (&'a PoolName, &'a [SyncOp]);

/// What is to be done.
enum Work<'a> {
    /// A clone is made, without its settings where those come later.
    Make(&'a CloneOf),
    /// These get their settings, which are the same.
    Set(Vec<&'a CloneOf>),
    /// These operations run.
    Transact(Beside<'a>),
}

/// What is to be done, what is being done, and what went wrong first.
struct Queue<'a> {
    clones: &'a [CloneOf],
    to_make: Vec<&'a CloneOf>,
    to_set: Vec<&'a CloneOf>,
    beside: Option<Beside<'a>>,
    making: Vec<&'a CloneOf>,
    running: usize,
    failure: Option<Error>,
}

impl<'a> Queue<'a> {
    fn of(clones: &'a [CloneOf], beside: Option<Beside<'a>>) -> Self {
        Self {
            clones,
            to_make: clones.iter().collect(),
            to_set: Vec::new(),
            beside,
            making: Vec::new(),
            running: 0,
            failure: None,
        }
    }

    /// The next clone whose parent is not still to come; where there is none, settings, as
    /// soon as all are there that get theirs later; and what waits for nothing when all
    /// clones have begun, each of which takes as long.
    fn next(&mut self) -> Option<Work<'a>> {
        let work = self
            .next_clone()
            .map(Work::Make)
            .or_else(|| self.next_set())
            .or_else(|| self.next_beside())?;
        if let Work::Make(clone) = work {
            self.making.push(clone);
        }
        self.running += 1;
        Some(work)
    }

    fn next_clone(&mut self) -> Option<&'a CloneOf> {
        let index = self.to_make.iter().position(|clone| {
            clone
                .target
                .parent()
                .is_none_or(|parent| self.to_come().all(|other| other.target != parent))
        })?;
        Some(self.to_make.remove(index))
    }

    fn next_set(&mut self) -> Option<Work<'a>> {
        let first = *self.to_set.first()?;
        if self.to_come().any(|clone| clone.is_set_later(self.clones)) {
            return None;
        }
        let alike = |clone: &&CloneOf| clone.settings == first.settings;
        let together: Vec<&CloneOf> = (self.to_set.iter().copied())
            .filter(alike)
            .take(SET_TOGETHER)
            .collect();
        self.to_set.retain(|clone| !together.contains(clone));
        Some(Work::Set(together))
    }

    fn next_beside(&mut self) -> Option<Work<'a>> {
        if !self.to_make.is_empty() {
            return None;
        }
        self.beside.take().map(Work::Transact)
    }

    /// The clones that are not there yet.
    fn to_come(&self) -> impl Iterator<Item = &'a CloneOf> {
        self.to_make.iter().chain(&self.making).copied()
    }

    fn ended(&mut self, work: &Work<'a>, result: Result<()>) {
        self.running -= 1;
        if let Work::Make(clone) = work {
            self.making.retain(|other| other != clone);
            if clone.is_set_later(self.clones) {
                self.to_set.push(clone);
            }
        }
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
        if self.failure.is_some() {
            // Nobody begins anything else; the first failure is told.
            self.to_make.clear();
            self.to_set.clear();
            self.beside = None;
        }
    }
}

/// Makes the clones, each as soon as its parent is there, and what runs beside them.
pub(super) fn make(engine: &Cli, clones: &[CloneOf], beside: Option<Beside<'_>>) -> Result<()> {
    let queue = Mutex::new(Queue::of(clones, beside));
    let changed = Condvar::new();
    let work = || {
        let mut mine = locked(&queue);
        loop {
            if let Some(work) = mine.next() {
                drop(mine);
                let result = match &work {
                    Work::Make(clone) if clone.is_set_later(clones) => engine.clone_one(clone, &[]),
                    Work::Make(clone) => engine.clone_one(clone, &clone.settings),
                    Work::Set(together) => {
                        let targets: Vec<&DatasetName> =
                            together.iter().map(|clone| &clone.target).collect();
                        let settings = together.first().map(|clone| clone.settings.as_slice());
                        engine.set_all(&targets, settings.unwrap_or_default())
                    }
                    Work::Transact((pool, operations)) => engine.transact(pool, operations),
                };
                mine = locked(&queue);
                mine.ended(&work, result);
                changed.notify_all();
            } else if mine.running == 0 {
                return;
            } else {
                mine = changed.wait(mine).unwrap_or_else(PoisonError::into_inner);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(clones.len() + usize::from(beside.is_some())) {
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

    fn next(queue: &mut Queue<'_>) -> Option<String> {
        queue.next().map(|work| match work {
            Work::Make(clone) => format!("make {}", clone.target),
            Work::Set(together) => {
                let targets = together.iter().map(|clone| clone.target.as_str());
                format!("set {}", targets.collect::<Vec<_>>().join(" "))
            }
            Work::Transact((pool, _)) => format!("transact in {pool}"),
        })
    }

    fn full() -> Result<()> {
        Err(Error::new(ErrorKind::NoSpace, "clone", "full"))
    }

    #[test]
    fn a_child_waits_for_its_parent_alone_and_nothing_begins_after_a_failure() {
        let clones: Vec<CloneOf> = ["p/b", "p/b/x", "p/b/y", "p/b/x/z"].map(clone).into();
        let mut queue = Queue::of(&clones, None);
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b"));
        assert_eq!(next(&mut queue), None);
        queue.ended(&Work::Make(&clones[0]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x"));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/y"));
        assert_eq!(next(&mut queue), None);
        // The other one of its parent's level still runs.
        queue.ended(&Work::Make(&clones[1]), Ok(()));
        queue.ended(&Work::Make(&clones[2]), full());
        assert_eq!(next(&mut queue), None);
        assert!(queue.failure.is_some());
    }

    #[test]
    fn what_runs_beside_clones_begins_when_they_have_and_after_no_failure() {
        let pool: PoolName = "p".parse().unwrap();
        let beside = Some((&pool, [].as_slice()));
        let clones: Vec<CloneOf> = ["p/b/x", "p/b/x/y"].map(clone).into();
        let mut queue = Queue::of(&clones, beside);
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x"));
        assert_eq!(next(&mut queue), None);
        queue.ended(&Work::Make(&clones[0]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x/y"));
        assert_eq!(next(&mut queue).as_deref(), Some("transact in p"));
        assert_eq!(next(&mut queue), None);
        let mut queue = Queue::of(&clones, beside);
        queue.next();
        queue.ended(&Work::Make(&clones[0]), full());
        assert_eq!(next(&mut queue), None);
        // A root with nothing below it.
        let mut queue = Queue::of(&[], beside);
        assert_eq!(next(&mut queue).as_deref(), Some("transact in p"));
    }

    #[test]
    fn what_has_clones_below_it_gets_its_settings_beside_them() {
        let mut clones: Vec<CloneOf> = [
            "p/b", "p/b/v", "p/b/v/z", "p/b/w", "p/b/w/z", "p/b/x", "p/b/x/z", "p/b/y", "p/b/y/z",
        ]
        .map(clone)
        .into();
        for (clone, name) in clones.iter_mut().skip(1).step_by(2).zip([
            "canmount",
            "canmount",
            "canmount",
            "mountpoint",
        ]) {
            clone.settings = vec![(name.to_owned(), "value".to_owned())];
        }
        let mut queue = Queue::of(&clones, None);
        queue.next();
        queue.ended(&Work::Make(&clones[0]), Ok(()));
        for made in ["v", "w", "x", "y"] {
            assert_eq!(next(&mut queue), Some(format!("make p/b/{made}")));
        }
        for index in [1, 3] {
            queue.ended(&Work::Make(&clones[index]), Ok(()));
        }
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/v/z"));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/w/z"));
        // The third is on its way; the fourth has its settings when it is there.
        assert_eq!(next(&mut queue), None);
        queue.ended(&Work::Make(&clones[5]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/x/z"));
        assert_eq!(next(&mut queue).as_deref(), Some("set p/b/v p/b/w"));
        assert_eq!(next(&mut queue).as_deref(), Some("set p/b/x"));
        assert_eq!(next(&mut queue), None);
        queue.ended(&Work::Make(&clones[7]), Ok(()));
        assert_eq!(next(&mut queue).as_deref(), Some("make p/b/y/z"));
        assert_eq!(next(&mut queue), None);
        // One that ends after another one's failure gets none.
        let mut queue = Queue::of(&clones, None);
        queue.next();
        queue.ended(&Work::Make(&clones[0]), Ok(()));
        queue.next();
        queue.next();
        queue.ended(&Work::Make(&clones[3]), full());
        queue.ended(&Work::Make(&clones[1]), Ok(()));
        assert_eq!(next(&mut queue), None);
    }
}
