//! See `keyrack_fuzz_targets::key_format`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| keyrack_fuzz_targets::key_format(data));
