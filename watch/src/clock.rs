//! The time that is left. Pure.

use std::time::Duration;

/// How long a person is waited for in all: so long that somebody who has to go to
/// the machine gets there. Who has not come after an hour will not: and where the
/// prompt itself does not work (no driver for the keyboard in this initramfs), the
/// good system asks again, and can be answered.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A clock that runs down.
#[derive(Debug, Clone)]
pub struct Clock {
    left: Duration,
    patience: Duration,
}

impl Clock {
    /// One with so many seconds.
    pub fn new(seconds: u64) -> Self {
        Self {
            left: Duration::from_secs(seconds),
            patience: PATIENCE,
        }
    }

    /// Some time has passed; where a person was being asked, it does not count, up
    /// to [`PATIENCE`]. Whether the time is over.
    pub fn passed(&mut self, time: Duration, asked: bool) -> bool {
        if asked && !self.patience.is_zero() {
            self.patience = self.patience.saturating_sub(time);
        } else {
            self.left = self.left.saturating_sub(time);
        }
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(clock: &mut Clock, seconds: u64, asked: bool) -> bool {
        let second = Duration::from_secs(1);
        (0..seconds).any(|_| clock.passed(second, asked))
    }

    #[test]
    fn it_runs_down_in_its_time() {
        let mut clock = Clock::new(60);
        assert!(!ticks(&mut clock, 59, false));
        assert!(ticks(&mut clock, 1, false));
    }

    #[test]
    fn it_stands_while_a_person_is_asked() {
        let mut clock = Clock::new(60);
        assert!(!ticks(&mut clock, 30, false));
        assert!(!ticks(&mut clock, 3000, true));
        assert!(!ticks(&mut clock, 29, false));
        assert!(ticks(&mut clock, 1, false));
    }

    #[test]
    fn nobody_is_waited_for_longer_than_an_hour() {
        let mut clock = Clock::new(60);
        assert!(!ticks(&mut clock, 3659, true));
        assert!(ticks(&mut clock, 1, true));
    }
}
