//! Start permits: only so many units start at once, and those that a call waits for go first.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

/// A line of units that want to start. Clones share it.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    free: usize,
    next_id: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    urgent: bool,
    turn: oneshot::Sender<Permit>,
}

/// Leave to start; given back when dropped.
#[derive(Debug)]
pub struct Permit(Permits);

/// A place in the line; dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Place {
    permits: Permits,
    id: u64,
    turn: oneshot::Receiver<Permit>,
}

impl Permits {
    /// At most `at_once` (at least 1) units start at the same time.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Line {
            free: at_once.max(1),
            next_id: 0,
            waiting: VecDeque::new(),
        })))
    }

    /// Gets in line, ahead of those that are not urgent if `urgent`.
    pub(super) fn queue(&self, urgent: bool) -> Place {
        let (turn, place) = oneshot::channel();
        let id = self.with(|line| {
            line.next_id += 1;
            let id = line.next_id;
            line.waiting.push_back(Waiter { id, urgent, turn });
            id
        });
        self.serve();
        Place {
            permits: self.clone(),
            id,
            turn: place,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives free permits to whoever is next. Never holds the lock while a permit may be dropped.
    fn serve(&self) {
        loop {
            let next = self.with(|line| {
                if line.free == 0 {
                    return None;
                }
                let urgent = line.waiting.iter().position(|waiter| waiter.urgent);
                let next = line.waiting.remove(urgent.unwrap_or(0))?;
                line.free -= 1;
                Some(next)
            });
            let Some(next) = next else { return };
            // Whoever has left the line drops the permit, which gives it back.
            drop(next.turn.send(Permit(self.clone())));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.with(|line| line.free += 1);
        self.0.serve();
    }
}

impl Place {
    /// Resolves when it is our turn.
    pub(super) async fn turn(&mut self) -> Permit {
        (&mut self.turn)
            .await
            .expect("the line keeps every sender until it has sent")
    }

    /// A call waits now.
    pub(super) fn hasten(&self) {
        self.permits.with(|line| {
            if let Some(waiter) = line.waiting.iter_mut().find(|waiter| waiter.id == self.id) {
                waiter.urgent = true;
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permits
            .with(|line| line.waiting.retain(|waiter| waiter.id != self.id));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn urgent_ones_go_first_and_leavers_hold_nobody_up() {
        let permits = Permits::new(1);
        let mut first = permits.queue(false);
        let held = first.turn().now_or_never().unwrap();
        let (mut second, mut third, fourth) = (permits.queue(false), permits.queue(false), permits.queue(true));
        drop(fourth);
        third.hasten();
        assert!(third.turn().now_or_never().is_none());
        drop(held);
        let held = third.turn().now_or_never().unwrap();
        assert!(second.turn().now_or_never().is_none());
        drop(held);
        // A permit that arrived but was not picked up goes back with its place.
        drop(second);
        assert!(permits.queue(false).turn().now_or_never().is_some());
    }
}
