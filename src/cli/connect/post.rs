//! One message of the client, and whatever the hub answers to it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use tokio::time::sleep;

use super::link::{Failure, Link, chain, is_answer, is_events, refused};
use crate::{
    jsonrpc::{Kind, Message, parse},
    mcp::{call_params, method},
    upstream::remote::{EventReader, mirrored_headers},
};

/// How often a stream that broke before its answer is asked for again.
const ATTEMPTS: u32 = 10;
/// The wait before that, where the hub did not say.
const RETRY: Duration = Duration::from_millis(500);
/// The longest wait between two attempts at the general stream.
const LONGEST: Duration = Duration::from_secs(15);

/// Sends `message` and writes what comes back. A request always gets an answer.
pub(super) async fn deliver(link: Arc<Link>, message: Message) {
    let outcome = if claims_modern(&message) {
        modern(&link, &message).await
    } else {
        legacy(&link, &message).await
    };
    if let Err(failure) = outcome {
        tracing::warn!(%failure, method = message.method(), "a message got no answer");
        if message.kind() == Kind::Request {
            write(&link, failure.answer(message.id())).await;
        }
    }
}

/// Whether a message says that it is of a modern revision.
pub(super) fn claims_modern(message: &Message) -> bool {
    call_params(message).is_ok_and(|params| params.meta.claims_modern())
}

async fn write(link: &Link, message: Bytes) {
    link.memory.learn(&message);
    if link.out.send(message).await.is_err() {
        tracing::debug!("nobody reads stdout any more");
    }
}

async fn modern(link: &Link, message: &Message) -> Result<(), Failure> {
    let headers = call_params(message).map_or_else(
        |_ambiguous| HeaderMap::new(),
        |params| {
            link.memory
                .with_annotations(|known| mirrored_headers(message, &params, known))
        },
    );
    let response = link.post(message.bytes(), headers).await?;
    if is_events(response.headers()) {
        let seen = read_events(link, response, message.id(), None).await;
        return if seen.answered {
            Ok(())
        } else {
            Err(Failure::Broken(seen.reason))
        };
    }
    whole(link, response, message).await
}

async fn legacy(link: &Link, message: &Message) -> Result<(), Failure> {
    let opens = message.method() == method::INITIALIZE && message.kind() == Kind::Request;
    if opens {
        link.memory.keep_initialize(message.bytes().clone());
    }
    let mut session = link.memory.session();
    let mut headers = HeaderMap::new();
    if !opens {
        session.put(&mut headers);
    }
    let mut response = link.post(message.bytes(), headers).await?;
    if response.status() == StatusCode::NOT_FOUND && !opens && session.is_named() {
        // A message to a session that is gone was not looked at.
        link.reopen(&session).await?;
        session = link.memory.session();
        let mut headers = HeaderMap::new();
        session.put(&mut headers);
        response = link.post(message.bytes(), headers).await?;
    }
    let given = opens.then(|| response.headers().clone());
    if !is_events(response.headers()) {
        return match given {
            Some(given) => opened(link, response, message, &given).await,
            None => whole(link, response, message).await,
        };
    }
    let mut seen = read_events(link, response, message.id(), given.as_ref()).await;
    for _ in 0..ATTEMPTS {
        let Some(last) = seen.last.clone() else { break };
        if seen.answered || message.kind() != Kind::Request {
            return Ok(());
        }
        sleep(seen.retry.unwrap_or(RETRY)).await;
        let response = link.get(&session, Some(&last)).await?;
        if !is_events(response.headers()) {
            break;
        }
        let more = read_events(link, response, message.id(), given.as_ref()).await;
        seen = Seen {
            last: more.last.or(Some(last)),
            retry: more.retry.or(seen.retry),
            ..more
        };
    }
    if seen.answered || message.kind() != Kind::Request {
        Ok(())
    } else {
        Err(Failure::Broken(seen.reason))
    }
}

async fn opened(link: &Link, response: Response, message: &Message, given: &HeaderMap) -> Result<(), Failure> {
    let status = response.status();
    let body = response.bytes().await.map_err(|error| Failure::Broken(chain(&error)))?;
    if !status.is_success() {
        return Err(refused(status, &body));
    }
    if parse(body.clone()).is_ok_and(|answer| answer.kind() == Kind::Result) {
        link.memory.opened(given, &body);
    }
    if body.is_empty() && message.kind() == Kind::Request {
        return Err(Failure::Status(status, None));
    }
    write(link, body).await;
    Ok(())
}

async fn whole(link: &Link, response: Response, message: &Message) -> Result<(), Failure> {
    let status = response.status();
    let body = response.bytes().await.map_err(|error| Failure::Broken(chain(&error)))?;
    let answers = parse(body.clone()).is_ok_and(|answer| is_answer(&answer) && answer.id() == message.id());
    if status.is_success() || answers {
        // Nothing in it: a notification was taken, or a request was cancelled.
        if !body.is_empty() && message.kind() == Kind::Request {
            write(link, body).await;
        }
        return Ok(());
    }
    Err(refused(status, &body))
}

/// What was seen of a stream.
#[derive(Debug, Default)]
struct Seen {
    answered: bool,
    last: Option<String>,
    retry: Option<Duration>,
    reason: String,
}

/// Writes the messages of a stream until it ends or the answer to `id` came. `given` are the headers of the answer to `initialize`.
async fn read_events(link: &Link, mut response: Response, id: Option<&str>, given: Option<&HeaderMap>) -> Seen {
    let mut reader = EventReader::default();
    let mut seen = Seen::default();
    while !seen.answered {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                for event in reader.feed(&chunk) {
                    seen.last = event.id.or(seen.last.take());
                    seen.retry = event.retry.or(seen.retry);
                    let Some(data) = event.data else { continue };
                    if let Ok(message) = parse(data.clone())
                        && is_answer(&message)
                        && message.id() == id
                    {
                        seen.answered = true;
                        if let (Some(given), Kind::Result) = (given, message.kind()) {
                            link.memory.opened(given, &data);
                        }
                    }
                    write(link, data).await;
                }
            }
            Ok(None) => {
                "it ended before the answer".clone_into(&mut seen.reason);
                break;
            }
            Err(error) => {
                seen.reason = chain(&error);
                break;
            }
        }
    }
    seen
}

/// Keeps the general stream of the session open, for as long as it is polled. Ends where the other side has none.
pub(super) async fn listen(link: Arc<Link>) {
    let mut session = link.memory.session();
    let mut last: Option<String> = None;
    let mut wait = RETRY;
    loop {
        let now = link.memory.session();
        if now != session {
            (session, last) = (now, None);
        }
        match link.get(&session, last.as_deref()).await {
            Ok(response) if is_events(response.headers()) => {
                let seen = read_events(&link, response, None, None).await;
                last = seen.last.or(last);
                wait = seen.retry.unwrap_or(RETRY);
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND && session.is_named() => {
                if let Err(failure) = link.reopen(&session).await {
                    tracing::debug!(%failure, "could not open another session");
                }
            }
            Ok(response) if response.status() == StatusCode::BAD_REQUEST && last.is_some() => last = None,
            Ok(response) if response.status().is_client_error() => return,
            Ok(_) | Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}
