//! Views into the params of a message: the few fields that decide where it goes.

use serde_json::value::RawValue;

use super::{ErrorAnswer, RequestMeta};
use crate::jsonrpc::{Fields, Message};

/// `params.name`, `params.uri` and `params._meta`, checked to be unambiguous.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallParams<'a> {
    /// Name of a tool or prompt.
    pub name: Option<&'a RawValue>,
    /// URI of a resource.
    pub uri: Option<&'a RawValue>,
    /// What the request says of itself.
    pub meta: RequestMeta<'a>,
}

/// Looks into the params of a request or notification.
///
/// # Errors
/// -32602 if one of the three fields stands there twice, or differs by letter case only, or `_meta` is not an object.
pub fn call_params(message: &Message) -> Result<CallParams<'_>, ErrorAnswer> {
    let Some(params) = message.body_text().filter(|params| params.starts_with('{')) else {
        return Ok(CallParams::default());
    };
    let fields = match Fields::find(params, &["name", "uri", "_meta"]) {
        Ok(Ok(fields)) => fields,
        Ok(Err(shape)) => return Err(ErrorAnswer::invalid_params(format!("`params` {shape}"))),
        Err(error) => return Err(ErrorAnswer::invalid_params(format!("`params`: {error}"))),
    };
    let [name, uri, meta] = fields.values();
    Ok(CallParams {
        name,
        uri,
        meta: meta.map(RequestMeta::read).transpose()?.unwrap_or_default(),
    })
}

/// One field of a raw object, if `object` is one and the field is there once.
#[must_use]
pub fn field<'a>(object: &'a str, name: &'static str) -> Option<&'a RawValue> {
    Fields::find(object, &[name]).ok()?.ok()?.get(0)
}
