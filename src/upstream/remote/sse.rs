//! HTTP+SSE (2024-11-05): one stream brings everything, posts to the address it names take everything.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream::FuturesUnordered,
};
use http::{HeaderMap, Uri};
use reqwest::Response;
use tokio::time::timeout;

use super::{
    Event, EventReader,
    attach::End,
    failure::{Failure, chain},
    lines::Lines,
    link::{Link, Session, is_events},
};
use crate::{
    jsonrpc::{Kind, Message, parse},
    mcp::method,
};

/// How long the server may take to name its address.
const ENDPOINT: Duration = Duration::from_secs(10);
/// How long the notification that opens a session may hold up what comes after it.
const NOTIFICATION: Duration = Duration::from_secs(12);

/// Passes everything both ways until the connection closes its end or the stream ends. `said` was read from `lines` before.
pub(super) async fn relay(link: Arc<Link>, said: Option<Bytes>, lines: &mut Lines) -> End {
    let opened = match open(&link).await {
        Ok(opened) => opened,
        Err(failure) => {
            if let Some(Ok(message)) = said.map(parse) {
                link.inbox.put(failure.answer(&link.target.service, message.id())).await;
            }
            return End::Lost(failure.to_string());
        }
    };
    let mut relay = Relay {
        link,
        endpoint: opened.endpoint.clone(),
        posts: FuturesUnordered::new(),
    };
    if let Some(said) = said {
        relay.take(said).await;
    }
    let link = Arc::clone(&relay.link);
    let mut stream = std::pin::pin!(hear(&link, opened));
    loop {
        tokio::select! {
            end = stream.as_mut() => return end,
            Some(posted) = relay.posts.next(), if !relay.posts.is_empty() => if let Err(failure) = posted {
                return End::Lost(failure.to_string());
            },
            line = lines.next() => match line {
                Some(line) => relay.take(line).await,
                None => return End::Closed,
            },
        }
    }
}

/// A stream, and where to post to.
struct Opened {
    response: Response,
    reader: EventReader,
    endpoint: Uri,
    /// What came with the address.
    early: Vec<Event>,
}

async fn open(link: &Link) -> Result<Opened, Failure> {
    let mut response = link.get(&Session::default(), None).await?;
    if !is_events(&response) {
        return Err(Failure::Status(response.status(), None));
    }
    let mut reader = EventReader::default();
    let naming = async {
        loop {
            let bytes = response.chunk().await.map_err(|error| Failure::Broken(chain(error)))?;
            let Some(bytes) = bytes else {
                return Err(Failure::Broken(
                    "the stream ended before it named an address".to_owned(),
                ));
            };
            let mut events = reader.feed(&bytes).into_iter();
            if let Some(named) = events.find(|event| event.kind.as_deref() == Some("endpoint")) {
                return Ok((named.data.unwrap_or_default(), events.collect()));
            }
        }
    };
    let (named, early) = timeout(ENDPOINT, naming)
        .await
        .map_err(|_late| Failure::Nonsense("no `endpoint` event came".to_owned()))??;
    let endpoint = address(link, &named)?;
    Ok(Opened {
        response,
        reader,
        endpoint,
        early,
    })
}

/// The address that the server named, against its own. One elsewhere would get our headers, and is refused.
fn address(link: &Link, named: &[u8]) -> Result<Uri, Failure> {
    let text = String::from_utf8_lossy(named);
    let base = &link.target.url;
    let whole = if text.starts_with('/') {
        format!(
            "{}://{}{text}",
            base.scheme_str().unwrap_or("http"),
            base.authority().map(http::uri::Authority::as_str).unwrap_or_default()
        )
    } else {
        text.into_owned()
    };
    whole
        .parse()
        .ok()
        .filter(|uri| link.target.is_same_origin(uri))
        .ok_or_else(|| Failure::Nonsense("it wants messages at another origin than its own".to_owned()))
}

/// Hands over the messages of the stream until it ends.
async fn hear(link: &Link, opened: Opened) -> End {
    let Opened {
        mut response,
        mut reader,
        early,
        ..
    } = opened;
    let mut events = early;
    loop {
        for event in events {
            if let Some(data) = event.data {
                link.inbox.put(data).await;
            }
        }
        if reader.held() > link.target.limit {
            return End::Lost(Failure::TooLong(link.target.limit).to_string());
        }
        match response.chunk().await {
            Ok(Some(bytes)) => events = reader.feed(&bytes),
            Ok(None) => return End::Lost("the server ended the stream".to_owned()),
            Err(error) => return End::Lost(chain(error)),
        }
    }
}

struct Relay {
    link: Arc<Link>,
    endpoint: Uri,
    posts: FuturesUnordered<BoxFuture<'static, Result<(), Failure>>>,
}

impl Relay {
    async fn take(&mut self, line: Bytes) {
        // The connection writes nothing else.
        let Ok(message) = parse(line) else { return };
        let opens = message.kind() == Kind::Notification && message.method() == method::INITIALIZED;
        let post = post(Arc::clone(&self.link), self.endpoint.clone(), message);
        if opens {
            drop(timeout(NOTIFICATION, post).await);
        } else {
            self.posts.push(post.boxed());
        }
    }
}

async fn post(link: Arc<Link>, endpoint: Uri, message: Message) -> Result<(), Failure> {
    let posted = link.post_to(&endpoint, message.bytes(), HeaderMap::new()).await;
    let failure = match posted {
        Ok(response) if response.status().is_success() => return Ok(()),
        Ok(response) => Failure::Status(response.status(), None),
        Err(failure) => failure,
    };
    if message.kind() == Kind::Request {
        link.inbox.put(failure.answer(&link.target.service, message.id())).await;
    }
    if failure.ends_session() { Err(failure) } else { Ok(()) }
}
