//! Entrances for fuzz targets: parsers of what clients send.

/// Wyoming's events, whole and in pieces as long as the first byte says: both
/// must read the same.
///
/// # Panics
/// If they do not.
pub fn wyoming_frame(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let pieces = bytes.chunks(usize::from(*first).max(1));
    assert_eq!(
        crate::wyoming::read_all([bytes]),
        crate::wyoming::read_all(pieces)
    );
}

/// Cartesia's frames.
pub fn cartesia_frame(bytes: &[u8]) {
    // Whether it is one does not matter here.
    let _ = crate::cartesia::check_frame(bytes);
}
