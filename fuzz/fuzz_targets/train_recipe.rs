//! Any text as a recipe and as a model's row of blocks: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sillage_train::{Recipe, architecture};

fuzz_target!(|text: &str| {
    if let Ok(recipe) = Recipe::parse(text) {
        let _ = architecture::config(&recipe.model, 256, recipe.data.length);
    }
});
