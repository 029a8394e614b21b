//! See `keyrack_fuzz_targets::slow_hash`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::slow_hash(data));
