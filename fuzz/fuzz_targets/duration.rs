//! See `keyrack_fuzz_targets::duration`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::duration(data));
