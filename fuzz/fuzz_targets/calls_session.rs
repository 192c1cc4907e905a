#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sigmux::sim::fuzz_bodies::calls_session(data));
