//! One field of a request that has to say something else upstream.

use std::ops::Range;

/// Bytes to put where others are.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) replacement: Box<[u8]>,
}

impl Edit {
    pub(super) fn new(range: Range<usize>, replacement: impl Into<Box<[u8]>>) -> Self {
        Self {
            range,
            replacement: replacement.into(),
        }
    }
}
