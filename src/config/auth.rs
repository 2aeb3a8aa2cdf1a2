//! Section `auth`: who may come in.

use std::{collections::BTreeSet, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    mistakes::{KeyPath, Mistakes},
    scalar::Text,
    secret::Secret,
    twin::{Files, twin},
};

/// A shorter token is accepted only where nobody else can try.
const SHORTEST_TOKEN: usize = 16;

/// Whether MCP clients must show a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum McpAuth {
    /// Everybody on this machine may use the MCP doors.
    #[default]
    Open,
    /// Every request on the MCP doors carries `Authorization: Bearer …`.
    Required,
}

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Whether MCP clients must show a token. The admin door always asks for one if there are any.
    pub mcp: McpAuth,
    /// The tokens that open the doors.
    pub tokens: Vec<NamedToken>,
}

/// One token and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedToken {
    /// Who holds it; appears in logs.
    pub name: String,
    /// What stands after `Bearer `.
    pub token: Secret<String>,
}

/// Who may come in.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawAuth {
    /// Whether MCP clients must show a token: `open` (only on loopback) or `required`. `required` as soon as there
    /// are tokens, else `open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<McpAuth>,
    /// Tokens that clients send as `Authorization: Bearer …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<RawToken>>,
}

/// A token and whose it is.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
struct RawToken {
    /// Who holds it; appears in logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text>,
    /// The token itself; better in a file or a variable: `${MCPVISOR_TOKEN}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Secret<String>>,
    /// A file that holds the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<Text>,
}

impl RawAuth {
    pub(super) fn check(self, at: &KeyPath, files: &mut Files, mistakes: &mut Mistakes) -> Auth {
        let at_tokens = at.join("tokens");
        let mut names = BTreeSet::new();
        let mut tokens = Vec::new();
        for (index, raw) in self.tokens.unwrap_or_default().into_iter().enumerate() {
            let at = at_tokens.join(index);
            let name = raw.name.map(|Text(name)| name).unwrap_or_default();
            if name.is_empty() && !mistakes.under(&at.join("name")) {
                mistakes.push(at.join("name"), "say who holds this token");
            } else if !name.is_empty() && !names.insert(name.clone()) {
                mistakes.push(at.join("name"), format!("there is another token called `{name}`"));
            }
            let given = raw.token.is_some() || raw.token_file.is_some();
            let file = raw.token_file.as_ref().map(|Text(file)| Path::new(file));
            let token = twin("token", raw.token, file, &at, files, mistakes);
            if !given && !mistakes.under(&at) {
                mistakes.push(at.clone(), "needs `token` or `token_file`");
            }
            let Some(token) = token else { continue };
            if !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
                mistakes.push(
                    at.join("token"),
                    "a token has only visible ASCII characters and no spaces",
                );
            }
            tokens.push(NamedToken { name, token });
        }
        let mcp = self.mcp.unwrap_or(if tokens.is_empty() {
            McpAuth::Open
        } else {
            McpAuth::Required
        });
        if mcp == McpAuth::Required && tokens.is_empty() && !mistakes.under(&at_tokens) {
            mistakes.push(
                at.join("mcp"),
                "`required` without any `auth.tokens` would let nobody in",
            );
        }
        Auth { mcp, tokens }
    }
}

impl Auth {
    /// The first token that could be guessed, if any.
    pub(super) fn short_token(&self) -> Option<&NamedToken> {
        self.tokens
            .iter()
            .find(|token| token.token.expose().len() < SHORTEST_TOKEN)
    }
}

impl From<&Auth> for RawAuth {
    fn from(auth: &Auth) -> Self {
        let token = |token: &NamedToken| RawToken {
            name: Some(Text(token.name.clone())),
            token: Some(token.token.clone()),
            token_file: None,
        };
        Self {
            mcp: Some(auth.mcp),
            tokens: (!auth.tokens.is_empty()).then(|| auth.tokens.iter().map(token).collect()),
        }
    }
}
