//! The four lists, from the current view.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Gateway, Reply, caller::Caller, greet::result};
use crate::{
    jsonrpc::{Message, json_string, text_of},
    mcp::{Answered, Era, ErrorAnswer, field, meta_key},
    upstream::ListKind,
};

const CURSOR_PREFIX: &str = "page:";

/// One page. Never waits for a service.
pub(super) fn list(gateway: &Gateway, caller: &Caller, request: &Message) -> Reply {
    if caller.era() == Era::Modern {
        for service in gateway.services() {
            service.find_out_era();
        }
    }
    let kind = ListKind::of_method(request.method()).unwrap_or(ListKind::Tools);
    let view = gateway.catalog().view(&caller.audience());
    let Some((page, number, more)) =
        page_number(request).and_then(|number| view.table(kind).page(number).map(|(page, more)| (page, number, more)))
    else {
        let error = ErrorAnswer::invalid_params("`params.cursor` is none that this server gave");
        return Reply::error(request.id(), &error, Answered::InBand);
    };
    let mut body = String::with_capacity(page.len() + 256);
    body.push('{');
    body.push_str(&json_string(kind.field()));
    body.push(':');
    body.push_str(std::str::from_utf8(page).unwrap_or("[]"));
    if more {
        let cursor = URL_SAFE_NO_PAD.encode(format!("{CURSOR_PREFIX}{}", number + 1));
        body.extend([",\"nextCursor\":", &json_string(&cursor)]);
    }
    if caller.era() == Era::Modern {
        body.push_str(",\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\",\"_meta\":{");
        body.extend([
            json_string(meta_key::SERVER_INFO),
            ":".to_owned(),
            view.server_info().to_string(),
        ]);
        body.push('}');
    }
    body.push('}');
    Reply::ok(result(request, &body))
}

fn page_number(request: &Message) -> Option<usize> {
    match request.body_text().and_then(|params| field(params, "cursor")) {
        None => Some(0),
        Some(cursor) => {
            let bytes = URL_SAFE_NO_PAD.decode(text_of(cursor)?.as_bytes()).ok()?;
            std::str::from_utf8(&bytes)
                .ok()?
                .strip_prefix(CURSOR_PREFIX)?
                .parse()
                .ok()
        }
    }
}
