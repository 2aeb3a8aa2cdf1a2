//! What was asked of a unit and not yet taken up by its driver. Orders coalesce: the last one wins,
//! so that a stop never waits behind queued starts and nothing can overflow.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::Notify;

use super::{
    contract::Event,
    state::{Input, Rest},
};

/// So many unanswered calls in a row are trouble.
const TROUBLE: u32 = 3;
/// So many more are as much trouble again.
const MORE_TROUBLE: u32 = 5;

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name")]
struct Pending {
    /// The order to carry out, with its number.
    order: Option<(Input, u64)>,
    /// The number of the latest order.
    last: u64,
    want: bool,
    hurry: bool,
    troubled: bool,
    recovered: bool,
}

/// One unit's letter box.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pending: Mutex<Pending>,
    news: Notify,
    /// Calls that timed out since the last answer.
    timed_out: AtomicU32,
}

impl Orders {
    /// Leaves an order and returns its number.
    pub(super) fn give(&self, order: Input) -> u64 {
        let number = self.change(|pending| {
            pending.last += 1;
            let order = match (pending.order, order) {
                // Retirement is final.
                (Some((retire @ Input::Stop(Rest::Retired), _)), _) => retire,
                // Stopped and started before anybody looked: that is a restart.
                (Some((Input::Stop(_) | Input::Restart, _)), Input::Start) => Input::Restart,
                (_, order) => order,
            };
            pending.order = Some((order, pending.last));
            pending.last
        });
        self.news.notify_one();
        number
    }

    /// A call waits for the unit.
    pub(super) fn want(&self) {
        self.change(|pending| pending.want = true);
        self.news.notify_one();
    }

    /// Whatever stop is under way has no time left.
    pub(super) fn hurry(&self) {
        self.change(|pending| pending.hurry = true);
        self.news.notify_one();
    }

    /// Takes note of how a call went. The common case is one load.
    pub(super) fn report(&self, event: Event) {
        match event {
            Event::CallTimedOut => {
                let so_far = self.timed_out.fetch_add(1, Ordering::Relaxed) + 1;
                let more = so_far.checked_sub(TROUBLE);
                if more.is_some_and(|more| more.is_multiple_of(MORE_TROUBLE)) {
                    self.change(|pending| pending.troubled = true);
                    self.news.notify_one();
                }
            }
            Event::CallAnswered => {
                if self.timed_out.load(Ordering::Relaxed) == 0 {
                    return;
                }
                if self.timed_out.swap(0, Ordering::Relaxed) >= TROUBLE {
                    self.change(|pending| pending.recovered = true);
                    self.news.notify_one();
                }
            }
        }
    }

    /// A new process: what calls to the old one met does not count.
    pub(super) fn forget_calls(&self) {
        self.timed_out.store(0, Ordering::Relaxed);
        self.change(|pending| {
            pending.troubled = false;
            pending.recovered = false;
        });
    }

    /// The next thing to do, with the number of the order if it is one.
    pub(super) async fn next(&self) -> (Input, Option<u64>) {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.news.notified().await;
        }
    }

    fn take(&self) -> Option<(Input, Option<u64>)> {
        self.change(|pending| {
            // Hurry last: it means the stop that came before it.
            if let Some((input, number)) = pending.order.take() {
                Some((input, Some(number)))
            } else if std::mem::take(&mut pending.hurry) {
                Some((Input::Hurry, None))
            } else if std::mem::take(&mut pending.want) {
                Some((Input::Want, None))
            } else if std::mem::take(&mut pending.troubled) {
                Some((Input::Troubled, None))
            } else if std::mem::take(&mut pending.recovered) {
                Some((Input::Recovered, None))
            } else {
                None
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Pending) -> T) -> T {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_order_wins_and_retirement_is_final() {
        let orders = Orders::default();
        orders.give(Input::Start);
        orders.give(Input::Stop(Rest::Stopped));
        assert_eq!(orders.next().await, (Input::Stop(Rest::Stopped), Some(2)));
        orders.give(Input::Stop(Rest::Stopped));
        orders.hurry();
        orders.want();
        orders.give(Input::Start);
        assert_eq!(orders.next().await, (Input::Restart, Some(4)));
        assert_eq!(orders.next().await, (Input::Hurry, None));
        assert_eq!(orders.next().await, (Input::Want, None));
        orders.give(Input::Stop(Rest::Retired));
        orders.give(Input::Start);
        assert_eq!(orders.next().await, (Input::Stop(Rest::Retired), Some(6)));
    }

    #[tokio::test]
    async fn three_time_outs_in_a_row_are_trouble_and_five_more_again() {
        let orders = Orders::default();
        let time_outs = |count: u32| (0..count).for_each(|_| orders.report(Event::CallTimedOut));
        time_outs(2);
        orders.report(Event::CallAnswered);
        assert_eq!(orders.take(), None, "not in a row");
        time_outs(2);
        assert_eq!(orders.take(), None);
        time_outs(1);
        assert_eq!(orders.next().await, (Input::Troubled, None));
        time_outs(4);
        assert_eq!(orders.take(), None);
        time_outs(1);
        assert_eq!(orders.next().await, (Input::Troubled, None));
        orders.report(Event::CallAnswered);
        assert_eq!(orders.next().await, (Input::Recovered, None));
        time_outs(2);
        assert_eq!(orders.take(), None, "counted from anew");
    }
}
