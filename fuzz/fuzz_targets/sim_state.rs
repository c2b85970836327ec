#![no_main]

use beadm_rs::zfs::sim::Sim;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(sim) = Sim::from_state(text) {
        beadm_rs_fuzz::sim_state(&sim);
    }
});
