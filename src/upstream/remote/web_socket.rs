//! WebSocket: a line is a frame, a frame is a line.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio::time::{Duration, Instant, interval_at};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{
        Utf8Bytes,
        client::IntoClientRequest as _,
        protocol::{Message, WebSocketConfig},
    },
};

use super::{
    Target,
    attach::End,
    lines::{Inbox, Lines},
};

/// How often a quiet connection is asked for a sign of life.
const PING: Duration = Duration::from_secs(30);
/// How long making the connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Passes everything both ways until one side ends.
pub(super) async fn relay(target: &Target, inbox: &Inbox, lines: &mut Lines) -> End {
    let mut request = match target.url.clone().into_client_request() {
        Ok(request) => request,
        Err(error) => return End::Lost(format!("its address is no WebSocket's: {error}")),
    };
    request.headers_mut().extend(target.headers.clone());
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    let config = WebSocketConfig::default()
        .max_message_size(Some(target.limit))
        .max_frame_size(Some(target.limit));
    let connecting = Box::pin(connect_async_with_config(request, Some(config), true));
    let mut socket = match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(error)) => return End::Lost(format!("the server can't be reached: {error}")),
        Err(_late) => return End::Lost(format!("the server can't be reached: no answer within {CONNECT:?}")),
    };
    let mut ping = interval_at(Instant::now() + PING, PING);
    let mut heard = true;
    loop {
        tokio::select! {
            line = lines.next() => match line.map(Utf8Bytes::try_from) {
                Some(Ok(text)) => if let Err(error) = socket.send(Message::Text(text)).await {
                    return End::Lost(error.to_string());
                },
                Some(Err(_not_utf8)) => {}
                None => {
                    drop(socket.close(None).await);
                    return End::Closed;
                }
            },
            message = socket.next() => {
                heard = true;
                match message {
                    Some(Ok(Message::Text(text))) => inbox.put(Bytes::from(text)).await,
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return End::Lost("the server closed the connection".to_owned()),
                    Some(Err(error)) => return End::Lost(error.to_string()),
                }
            }
            _ = ping.tick() => {
                if !std::mem::take(&mut heard) {
                    return End::Lost(format!("the server was silent for {PING:?}, pings included"));
                }
                if let Err(error) = socket.send(Message::Ping(Bytes::new())).await {
                    return End::Lost(error.to_string());
                }
            }
        }
    }
}
