//! Properties of planners and executor over random histories on the simulator:
//! commands and a user's own doings behind their back, with the power cut, the
//! process killed or one call failing at a random place, then recovery.
//!
//! The histories are the same each time. `PROPTEST_CASES=100000` makes more of
//! them, `PROPTEST_RNG_SEED=1` others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod check;
mod deed;
mod fault;
mod history;
mod machine;
mod outside;
mod picture;
mod regressions;
mod travel;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

use history::{Event, History};
use machine::Layout;

/// How many histories each property is tried on.
const CASES: u32 = 4_000;

/// The longest history.
const EVENTS: usize = 6;

fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/model/failures",
        ))),
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(20_261_120);
    }
    config
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(history::event(), 1..=EVENTS)
}

fn begin(layout: Layout, used: bool) -> History {
    if used {
        History::on_used(layout)
    } else {
        History::on(layout)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_a_machine_with_one_pool_boots_and_loses_nothing(
        used in any::<bool>(),
        events in events(),
    ) {
        begin(Layout::OnePool, used).play(&events);
    }

    #[test]
    fn whatever_happens_a_machine_with_a_boot_pool_boots_and_loses_nothing(
        used in any::<bool>(),
        events in events(),
    ) {
        begin(Layout::BootPool, used).play(&events);
    }

    #[test]
    fn whatever_happens_from_a_rescue_system_the_machine_boots_and_loses_nothing(
        events in events(),
    ) {
        begin(Layout::Rescued, false).play(&events);
    }
}
