//! A description asks for nothing that checkpoints do not hold, in the shape in which they hold it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use sillage_formats::Checkpoint;
use sillage_models::describe;
use std::path::Path;

#[test]
fn all_tensors_are_known_by_name_and_shape() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/hf");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("config.json").exists() {
            continue;
        }
        let checkpoint = Checkpoint::open(&path).unwrap();
        let shape = |name: &str| checkpoint.shape(name).map(<[usize]>::to_vec);
        let description = describe(checkpoint.config(), &shape).unwrap();
        for parameter in description.parameters() {
            let found = checkpoint.shape(&parameter.name);
            let found = found.unwrap_or_else(|| panic!("{path:?} has no {}", parameter.name));
            let essence = |shape: &[usize]| -> Vec<usize> {
                shape.iter().copied().filter(|&n| n != 1).collect()
            };
            assert_eq!(
                essence(found),
                essence(&parameter.shape),
                "{}",
                parameter.name
            );
        }
        cases += 1;
    }
    assert!(cases > 20, "{cases}");
}
