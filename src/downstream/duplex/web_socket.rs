//! WebSocket: one message per text frame, subprotocol `mcp` where the client asks for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::extract::{
    FromRequestParts as _,
    ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
};
use bytes::Bytes;
use futures_util::{
    Sink, SinkExt as _, Stream, StreamExt as _,
    future::{Either, ready},
};
use http::{Response, StatusCode, request::Parts};
use tokio::{sync::oneshot, time::Instant};

use super::{
    connection::{AtEnd, Connection, End, Frame},
    outbound::Outbound,
};
use crate::{
    downstream::{
        door::Visit,
        http::{
            body::DoorBody,
            pulse::Busy,
            reply::{self, Answer},
        },
    },
    gateway::Principal,
};

/// How often a client is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a client may be silent: two pings unanswered.
const SILENCE: Duration = Duration::from_secs(75);
/// How long one message may take to be written.
const WRITE: Duration = Duration::from_secs(30);

/// Answers the handshake and serves the connection that follows.
pub(crate) async fn open_web_socket(visit: &Visit, head: &mut Parts) -> Answer {
    let busy = head.extensions.remove::<Arc<Busy>>();
    let upgrade = match WebSocketUpgrade::from_request_parts(head, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let answer = axum::response::IntoResponse::into_response(rejection);
            let mut refused = reply::text(answer.status(), "this path speaks WebSocket only\n");
            if answer.status() == StatusCode::UPGRADE_REQUIRED {
                refused.headers_mut().extend(answer.headers().clone());
            }
            return refused;
        }
    };
    if visit.door.closing.is_cancelled() {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "the hub is stopping\n");
    }
    let (sender, socket) = oneshot::channel();
    let most = visit.door.limits.max_body_bytes;
    let answer = upgrade
        .protocols(["mcp"])
        .max_message_size(most)
        .max_frame_size(most)
        .on_upgrade(move |socket| async move { drop(sender.send(socket)) });
    let served = visit.clone();
    visit.door.tasks.spawn("websocket client", async move {
        if let Ok(socket) = socket.await {
            serve(served, socket).await;
        }
        drop(busy);
    });
    let (head, _) = answer.into_parts();
    Response::from_parts(head, DoorBody::empty())
}

async fn serve(visit: Visit, socket: WebSocket) {
    let door = &visit.door;
    let out = Arc::new(Outbound::default());
    let principal = door.access.principal(visit.caller).cloned();
    let principal = principal.unwrap_or_else(|| Principal {
        name: Arc::from("local"),
    });
    let scope = visit.endpoint.scope().clone();
    let client = Connection::open(door.gateway.clone(), scope, principal, Arc::clone(&out), AtEnd::Cancel);
    let (mut sink, stream) = socket.split();
    let heard = Mutex::new(Instant::now());
    let refused = Mutex::new(None);
    let frames = frames(stream, &heard, &refused);
    let (end, ()) = tokio::join!(
        client.drive(frames, &door.closing, door.limits.drain),
        write(&out, &mut sink, &heard)
    );
    let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    let close = refused.unwrap_or(match end {
        End::Input => (close_code::NORMAL, ""),
        End::Closing => (close_code::AWAY, "the hub is stopping"),
        End::Gone => (close_code::POLICY, "the connection was silent, or did not read"),
    });
    let close = Message::Close(Some(CloseFrame {
        code: close.0,
        reason: Utf8Bytes::from_static(close.1),
    }));
    // Whoever is gone does not hear it.
    drop(tokio::time::timeout(Duration::from_secs(1), sink.send(close)).await);
}

type Refused = Mutex<Option<(u16, &'static str)>>;

/// The messages of a client. Whatever it sends shows that it is alive.
fn frames<S>(stream: S, heard: &Mutex<Instant>, refused: &Refused) -> impl Stream<Item = Frame>
where
    S: Stream<Item = Result<Message, axum::Error>>,
{
    let refuse = |code: u16, reason: &'static str| {
        *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason));
        Some(None)
    };
    stream
        .filter_map(move |message| {
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            ready(match message {
                Ok(Message::Text(text)) => Some(Some(Frame::Message(Bytes::from(text)))),
                Ok(Message::Binary(_)) => refuse(close_code::UNSUPPORTED, "messages are text frames"),
                Ok(Message::Ping(_) | Message::Pong(_)) => None,
                Ok(Message::Close(_)) => refuse(close_code::NORMAL, ""),
                Err(error) if error.to_string().contains("too long") || error.to_string().contains("too big") => {
                    refuse(close_code::SIZE, "the message is too long")
                }
                Err(_) => refuse(close_code::PROTOCOL, ""),
            })
        })
        // An error or a close frame ends the stream.
        .take_while(|frame| ready(frame.is_some()))
        .filter_map(ready)
}

async fn write<S: Sink<Message> + Unpin>(out: &Outbound, sink: &mut S, heard: &Mutex<Instant>) {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let message = tokio::select! {
            message = out.next() => match message {
                Some(message) => Either::Left(message),
                None => return,
            },
            _ = ping.tick() => Either::Right(()),
        };
        let message = match message {
            Either::Left(message) => match Utf8Bytes::try_from(message) {
                Ok(text) => Message::Text(text),
                Err(_) => continue,
            },
            Either::Right(()) => {
                if heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > SILENCE {
                    return out.abandon();
                }
                Message::Ping(Bytes::new())
            }
        };
        if !matches!(tokio::time::timeout(WRITE, sink.send(message)).await, Ok(Ok(()))) {
            return out.abandon();
        }
    }
}
