//! See `keyrack_fuzz_targets::upstream`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::upstream(data));
