#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| beadm_rs_fuzz::archive_rest(data));
