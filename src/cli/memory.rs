//! Gives back what a burst took. The allocator does so only while a thread goes on allocating: an idle hub would hold the memory
//! of its busiest second for hours.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// How often a thread looks, at most: it takes some ten microseconds.
const EVERY: Duration = Duration::from_secs(2);

thread_local! {
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Called by each thread of the runtime when it has nothing to do. There is always a next time: something wakes the runtime
/// every few seconds.
#[expect(unsafe_code, reason = "the allocator offers this as a C function only")]
pub(super) fn give_back() {
    let now = Instant::now();
    LAST.with(|last| {
        if last.get().is_some_and(|then| now.duration_since(then) < EVERY) {
            return;
        }
        last.set(Some(now));
        // SAFETY: takes no pointers, keeps none, and may be called by any thread at any time.
        unsafe { libmimalloc_sys::mi_collect(false) };
    });
}
