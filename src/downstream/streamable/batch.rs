//! Batches of messages (2025-03-26 only): one answer that holds the answers of all.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use futures_util::future::join_all;

use super::call::Call;
use crate::{
    gateway::{Client, Gateway, Outbox, Reply},
    jsonrpc::{Invalid, Kind, Message},
    mcp::{ErrorAnswer, call_params, code, method},
};

/// Most messages in one batch.
const MOST: usize = 1000;

/// Takes in a batch: notifications and responses at once, requests as one call whose answer is the array of theirs. `None` if there
/// is nothing to answer.
///
/// # Errors
/// -32600 if the client's revision has no batches, or the batch holds what none may hold.
pub(crate) fn accept(
    gateway: &Gateway,
    client: &Arc<Client>,
    items: Vec<Result<Message, Invalid>>,
    related: &Arc<dyn Outbox>,
) -> Result<Option<Call>, ErrorAnswer> {
    let refused = |message: &str| Err(ErrorAnswer::new(code::INVALID_REQUEST, message));
    if !client.revision().is_some_and(crate::mcp::Revision::has_batches) {
        return refused("batches exist only in 2025-03-26, which this client did not agree on");
    }
    if items.len() > MOST {
        return refused("the batch is longer than 1000 messages");
    }
    for message in items.iter().flatten() {
        if message.method() == method::INITIALIZE {
            return refused("`initialize` can't be part of a batch");
        }
        if call_params(message).is_ok_and(|params| params.meta.claims_modern()) {
            return refused("a request of a modern revision can't be part of a batch");
        }
    }
    let mut answers: Vec<Call> = Vec::new();
    for item in items {
        match item {
            Err(invalid) => {
                let error = ErrorAnswer::new(invalid.code(), invalid.to_string());
                let message = Some(error.to_message(invalid.id()));
                answers.push(Box::pin(std::future::ready(Reply { message, error: None })));
            }
            Ok(message) => match message.kind() {
                Kind::Notification => gateway.notify(client, &message),
                Kind::Result | Kind::Error => gateway.answer(client, &message),
                Kind::Request => {
                    let (gateway, client, related) = (gateway.clone(), Arc::clone(client), Arc::clone(related));
                    answers.push(Box::pin(
                        async move { gateway.request(&client, message, related).await },
                    ));
                }
            },
        }
    }
    if answers.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::pin(async move {
        let replies = join_all(answers).await;
        let messages: Vec<_> = replies.into_iter().filter_map(|reply| reply.message).collect();
        let mut array = BytesMut::with_capacity(messages.iter().map(|message| message.len() + 1).sum::<usize>() + 2);
        for (index, message) in messages.iter().enumerate() {
            array.put_u8(if index == 0 { b'[' } else { b',' });
            array.put_slice(message);
        }
        array.put_u8(b']');
        Reply {
            // All of them may have been cancelled.
            message: (!messages.is_empty()).then(|| array.freeze()),
            error: None,
        }
    })))
}
