//! `fuzz::sigv4` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sigv4(data));
