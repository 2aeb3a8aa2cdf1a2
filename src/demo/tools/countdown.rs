//! Calls that take their time: they report progress, and can be cancelled.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::count;
use crate::{
    demo::{
        answer::{Cache, Object, modernise, object, write_notification, write_result},
        session::Request,
    },
    mcp::method,
};

/// How many may run at a time.
const MAX_RUNNING: usize = 1000;

#[derive(Debug)]
struct Countdown {
    /// Raw, of the request.
    id: String,
    token: Option<Value>,
    modern: bool,
    from: u64,
    done: u64,
    interval: Duration,
    next: Instant,
}

/// The countdowns that run.
#[derive(Debug, Default)]
pub(in crate::demo) struct Countdowns(Vec<Countdown>);

impl Countdowns {
    /// Begins one.
    ///
    /// # Errors
    /// What is wrong with the arguments, for the caller to read.
    pub(super) fn start(&mut self, request: &Request<'_>, arguments: &Object) -> Result<(), String> {
        let from = count(arguments, "from", None, 1000)?;
        if self.0.len() >= MAX_RUNNING {
            return Err(format!("{MAX_RUNNING} countdowns run already"));
        }
        let interval = Duration::from_millis(count(arguments, "interval_ms", Some(1000), 60_000)?);
        self.0.push(Countdown {
            id: request.id.to_owned(),
            token: request.progress_token.clone(),
            modern: request.claim.is_some(),
            from,
            done: 0,
            interval,
            next: Instant::now() + interval,
        });
        Ok(())
    }

    /// Ends the one with the raw request id `id` without an answer, if it still runs.
    pub(in crate::demo) fn cancel(&mut self, id: &str) {
        self.0.retain(|countdown| countdown.id != id);
    }

    /// When the next step is due.
    pub(in crate::demo) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|countdown| countdown.next).min()
    }

    /// Takes every step that is due at `now`, and answers the calls that came to zero.
    pub(in crate::demo) fn tick(&mut self, now: Instant, out: &mut Vec<u8>) {
        for countdown in &mut self.0 {
            while countdown.next <= now && countdown.done < countdown.from {
                countdown.step(out);
            }
            if countdown.done == countdown.from {
                countdown.answer(out);
            }
        }
        self.0.retain(|countdown| countdown.done < countdown.from);
    }
}

impl Countdown {
    fn step(&mut self, out: &mut Vec<u8>) {
        self.done += 1;
        self.next += self.interval;
        if let Some(token) = &self.token {
            let left = self.from - self.done;
            let report = json!({"progressToken": token, "progress": self.done, "total": self.from,
                "message": format!("{left} to go")});
            write_notification(out, method::PROGRESS, &object(report));
        }
    }

    fn answer(&self, out: &mut Vec<u8>) {
        let text = format!("Counted down from {} to zero.", self.from);
        let mut result = object(json!({"content": [{"type": "text", "text": text}]}));
        if self.modern {
            modernise(&mut result, Cache::Never);
        }
        write_result(out, &self.id, &result);
    }
}
