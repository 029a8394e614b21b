//! See `keyrack_fuzz_targets::path`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::path(data));
