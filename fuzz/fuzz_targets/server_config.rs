//! Any text as a server's configuration: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = sillage_server::Config::parse(text) {
        let _ = config.check();
    }
});
