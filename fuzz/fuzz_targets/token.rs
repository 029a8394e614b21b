//! See `keyrack_fuzz_targets::token`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::token(data));
