//! The way through a WebSocket: a line is a frame, a frame is a line.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{
        Utf8Bytes,
        client::IntoClientRequest as _,
        protocol::{Message, WebSocketConfig},
    },
};

use super::args::Target;
use crate::{
    downstream::{Frame, Stdout},
    mcp::{ErrorAnswer, code},
};

/// Passes everything both ways until one side ends.
pub(super) async fn relay(
    target: Target,
    frames: impl Stream<Item = Frame>,
    stdout: &Stdout,
    limit: usize,
) -> anyhow::Result<()> {
    let mut request = target
        .uri
        .clone()
        .into_client_request()
        .context("the address is no WebSocket's")?;
    request.headers_mut().extend(target.headers);
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let (mut socket, _) = Box::pin(connect_async_with_config(request, Some(config), true))
        .await
        .with_context(|| format!("could not connect to {}", target.uri))?;
    let mut frames = std::pin::pin!(frames);
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Some(Frame::Message(line)) => match Utf8Bytes::try_from(line) {
                    Ok(text) => socket.send(Message::Text(text)).await.context("the connection broke")?,
                    Err(error) => {
                        let error = ErrorAnswer::new(code::PARSE, error.to_string());
                        stdout.write(error.to_message(None)).await;
                    }
                },
                Some(Frame::TooLong { id, .. }) => {
                    let error = ErrorAnswer::new(code::INVALID_REQUEST, "the line is too long");
                    stdout.write(error.to_message(id.as_deref())).await;
                }
                None => {
                    socket.close(None).await.context("the connection broke")?;
                    return Ok(());
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => if !stdout.write(Bytes::from(text)).await {
                    bail!("nobody reads stdout any more");
                },
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    bail!("the hub closed the connection: {why}");
                }
                Some(Err(error)) => return Err(error).context("the connection broke"),
                None => bail!("the hub closed the connection"),
            },
        }
    }
}
