//! See `keyrack_fuzz_targets::rate_limits`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::rate_limits(data));
