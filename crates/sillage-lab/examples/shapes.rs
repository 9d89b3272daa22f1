//! Draws the matched shapes of the measure `scaling` into a work folder and
//! prints their Hugging Face folders, for programs that measure them apart.
//!
//! ```text
//! cargo run --release -p sillage-lab --example shapes -- WORK [tiny|130m|370m ...]
//! ```

use sillage_lab::LabError;
use sillage_lab::shapes::{KINDS, Size, folder};
use std::path::PathBuf;

fn main() -> Result<(), LabError> {
    let mut words = std::env::args().skip(1);
    let work = words.next().map(PathBuf::from).ok_or_else(|| {
        LabError::Failed("give the work folder, and perhaps sizes: tiny, 130m, 370m".into())
    })?;
    let all = [Size::Tiny, Size::M130, Size::M370];
    let named: Vec<String> = words.collect();
    for word in &named {
        if !all.iter().any(|size| size.name() == word) {
            return Err(LabError::Failed(format!(
                "there is no size '{word}'; there are tiny, 130m and 370m"
            )));
        }
    }
    let wanted = all
        .into_iter()
        .filter(|size| named.is_empty() || named.iter().any(|word| word == size.name()));
    for size in wanted {
        for kind in KINDS {
            println!("{}", folder(&work, size, kind)?.display());
        }
    }
    Ok(())
}
