//! One message to a server of Streamable HTTP, and whatever comes back for it, in either era.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use reqwest::Response;
use tokio::time::sleep;

use super::{
    EventReader,
    failure::{Failure, chain},
    link::{Link, Session, is_events},
    mirrored_headers,
};
use crate::{
    jsonrpc::{Kind, Message, parse, parse_batch},
    mcp::{call_params, field, method},
};

/// How often a stream that broke before its answer is asked for again.
const ATTEMPTS: u32 = 10;
/// How a server of the transport before refuses `initialize` (2025-11-25, "Backwards Compatibility").
const OLDER: [StatusCode; 3] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
];
/// The wait before that, where the server did not say.
const RETRY: Duration = Duration::from_millis(500);
/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(15);
/// So many failed attempts at the general stream in a row, and the server counts as gone.
const LOST: u32 = 3;

/// Sends `message` and hands over what comes back. A request is always answered, if only by an error of ours.
///
/// # Errors
/// The failure that ends the session; its answer is on its way by then, except for [`Failure::OlderTransport`].
pub(super) async fn deliver(link: &Link, message: Message) -> Result<(), Failure> {
    let outcome = if claims_modern(&message) {
        modern(link, &message).await
    } else {
        legacy(link, &message).await
    };
    let Err(failure) = outcome else { return Ok(()) };
    tracing::debug!(%failure, service = %link.target.service, method = message.method(), "a message got no answer");
    if message.kind() == Kind::Request && !matches!(failure, Failure::OlderTransport(_)) {
        let answer = failure.answer(&link.target.service, message.id());
        link.inbox.put(answer).await;
    }
    if failure.ends_session() { Err(failure) } else { Ok(()) }
}

/// Whether a message says that it is of a modern revision.
pub(super) fn claims_modern(message: &Message) -> bool {
    call_params(message).is_ok_and(|params| params.meta.claims_modern())
}

async fn modern(link: &Link, message: &Message) -> Result<(), Failure> {
    let headers = call_params(message).map_or_else(
        |_ambiguous| HeaderMap::new(),
        |params| link.with_annotations(|known| mirrored_headers(message, &params, known)),
    );
    let response = link.post(message.bytes(), headers).await?;
    if !is_events(&response) {
        return whole(link, response, message).await;
    }
    let seen = read_events(link, response, message).await?;
    if seen.answered {
        Ok(())
    } else {
        Err(Failure::Broken(seen.reason))
    }
}

async fn legacy(link: &Link, message: &Message) -> Result<(), Failure> {
    let opens = message.kind() == Kind::Request && message.method() == method::INITIALIZE;
    let session = if opens { Session::default() } else { link.session() };
    let response = link.post(message.bytes(), session.headers()).await?;
    if response.status() == StatusCode::NOT_FOUND && session.is_named() {
        return Err(Failure::Forgotten);
    }
    let (status, given) = (response.status(), response.headers().clone());
    if !is_events(&response) {
        let body = match whole_answer(link, response, message).await {
            Err(Failure::Status(_, None)) if opens && OLDER.contains(&status) && link.may_be_older() => {
                return Err(Failure::OlderTransport(status));
            }
            body => body?,
        };
        if let Some(answer) = body {
            if opens && answer.kind() == Kind::Result {
                link.opened(&given, &answer);
            }
            hand_over(link, &answer).await;
        }
        return Ok(());
    }
    let mut seen = read_events_of(link, response, message, opens.then_some(&given)).await?;
    for _ in 0..ATTEMPTS {
        if seen.answered || message.kind() != Kind::Request {
            return Ok(());
        }
        // Only a stream whose events have ids can be taken up again (2025-11-25, "Resumability and Redelivery").
        let Some(last) = seen.last.clone() else { break };
        sleep(seen.retry.unwrap_or(RETRY)).await;
        let response = link.get(&session, Some(&last)).await?;
        if !is_events(&response) {
            break;
        }
        let more = read_events_of(link, response, message, None).await?;
        seen = Seen {
            last: more.last.or(Some(last)),
            retry: more.retry.or(seen.retry),
            ..more
        };
    }
    if seen.answered {
        Ok(())
    } else {
        Err(Failure::Broken(seen.reason))
    }
}

async fn hand_over(link: &Link, message: &Message) {
    link.learn(message.bytes());
    link.inbox.put(message.bytes().clone()).await;
}

async fn whole(link: &Link, response: Response, message: &Message) -> Result<(), Failure> {
    if let Some(answer) = whole_answer(link, response, message).await? {
        hand_over(link, &answer).await;
    }
    Ok(())
}

/// The answer in a body that is no stream; `None` for what wants none.
async fn whole_answer(link: &Link, response: Response, message: &Message) -> Result<Option<Message>, Failure> {
    let status = response.status();
    let body = link.body(response).await?;
    if message.kind() != Kind::Request {
        return if status.is_success() {
            Ok(None)
        } else {
            Err(Failure::Status(status, None))
        };
    }
    match parse(body.clone()) {
        Ok(answer) if is_answer(&answer) && answer.id() == message.id() => Ok(Some(answer)),
        _ if !status.is_success() => {
            let text = std::str::from_utf8(&body).unwrap_or_default();
            let error = field(text, "error").filter(|error| error.get().starts_with('{'));
            Err(Failure::Status(status, error.map(|error| error.get().into())))
        }
        Ok(_) => Err(Failure::Nonsense("an answer to another request".to_owned())),
        Err(invalid) => Err(Failure::Nonsense(invalid.to_string())),
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(message.kind(), Kind::Result | Kind::Error)
}

/// What was seen of a stream.
#[derive(Debug, Default)]
struct Seen {
    answered: bool,
    last: Option<String>,
    retry: Option<Duration>,
    reason: String,
}

async fn read_events(link: &Link, response: Response, message: &Message) -> Result<Seen, Failure> {
    read_events_of(link, response, message, None).await
}

/// Hands over the messages of a stream until it ends or the answer to `message` came. `given` are the headers of the answer
/// to `initialize`.
async fn read_events_of(
    link: &Link,
    response: Response,
    message: &Message,
    given: Option<&HeaderMap>,
) -> Result<Seen, Failure> {
    let id = message.id().filter(|_| message.kind() == Kind::Request);
    read(link, response, |answer| {
        if !is_answer(answer) || answer.id() != id {
            return false;
        }
        if let (Some(given), Kind::Result) = (given, answer.kind()) {
            link.opened(given, answer);
        }
        true
    })
    .await
}

/// Hands over the messages of a stream until it ends or one is the `last`.
async fn read(link: &Link, mut response: Response, is_last: impl Fn(&Message) -> bool) -> Result<Seen, Failure> {
    let mut reader = EventReader::default();
    let mut seen = Seen::default();
    while !seen.answered {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                for event in reader.feed(&bytes) {
                    seen.last = event.id.or(seen.last.take());
                    seen.retry = event.retry.or(seen.retry).map(|wait| wait.min(LONGEST));
                    let Some(data) = event.data else { continue };
                    match (parse(data.clone()), parse_batch(&data)) {
                        (Ok(message), _) => {
                            seen.answered |= is_last(&message);
                            hand_over(link, &message).await;
                        }
                        (Err(_), Some(Ok(batch))) => {
                            for message in batch.into_iter().flatten() {
                                seen.answered |= is_last(&message);
                                hand_over(link, &message).await;
                            }
                        }
                        // For the connection to count among the bad lines.
                        (Err(_), _) => link.inbox.put(data).await,
                    }
                }
                if reader.held() > link.target.limit {
                    return Err(Failure::TooLong(link.target.limit));
                }
            }
            Ok(None) => {
                "the stream ended before the answer".clone_into(&mut seen.reason);
                break;
            }
            Err(error) => {
                seen.reason = chain(error);
                break;
            }
        }
    }
    Ok(seen)
}

/// Keeps the general stream of a legacy session open, for as long as it is polled. Resolves where the server has none.
///
/// # Errors
/// The session is over: the server has forgotten it, or can't be reached any more.
pub(super) async fn listen(link: &Link) -> Result<(), Failure> {
    let session = link.session();
    let (mut last, mut failures) = (None::<String>, 0);
    loop {
        let mut wait = RETRY;
        match link.get(&session, last.as_deref()).await {
            Ok(response) if is_events(&response) => {
                failures = 0;
                let seen = read(link, response, |_| false).await?;
                last = seen.last.or(last);
                wait = seen.retry.unwrap_or(RETRY);
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND && session.is_named() => {
                return Err(Failure::Forgotten);
            }
            Ok(response) if response.status() == StatusCode::BAD_REQUEST && last.is_some() => last = None,
            Ok(response) if response.status().is_client_error() => return Ok(()),
            Ok(_) => {}
            Err(failure) => {
                failures += 1;
                if failures >= LOST {
                    return Err(failure);
                }
            }
        }
        sleep(wait).await;
    }
}
