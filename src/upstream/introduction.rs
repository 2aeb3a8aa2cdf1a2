//! What a server says of itself, and what it offers.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    jsonrpc::text_of,
    mcp::{Revision, method},
};

/// The result of `initialize` or `server/discover`, reduced to what both eras have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Introduction {
    /// The revision agreed, as it is written on the wire.
    pub revision: String,
    /// `Implementation`: name, version, title, icons.
    pub server_info: Value,
    /// `ServerCapabilities`.
    pub capabilities: Value,
    /// How to use the server, for a model.
    pub instructions: Option<String>,
}

impl Introduction {
    /// Whether the server declared `capability` (`tools`, `resources`, `prompts`, `logging`, `completions`).
    #[must_use]
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some_and(Value::is_object)
    }

    /// Whether it declared `resources.subscribe`.
    #[must_use]
    pub fn can_subscribe(&self) -> bool {
        self.capabilities
            .pointer("/resources/subscribe")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The revision, if the hub knows it.
    #[must_use]
    pub fn known_revision(&self) -> Option<Revision> {
        Revision::from_wire(&self.revision)
    }
}

/// The four lists of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `tools/list`
    Tools,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
    /// `prompts/list`
    Prompts,
}

impl ListKind {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts];

    /// The method that lists it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => method::TOOLS_LIST,
            Self::Resources => method::RESOURCES_LIST,
            Self::Templates => method::TEMPLATES_LIST,
            Self::Prompts => method::PROMPTS_LIST,
        }
    }

    /// The list that `method` asks for.
    #[must_use]
    pub fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The field of the result that holds it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The capability that promises it.
    #[must_use]
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources | Self::Templates => "resources",
            Self::Prompts => "prompts",
        }
    }

    /// The field of a definition that names it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// One definition as the server sent it, and where its name stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Name, URI or URI template, unescaped.
    pub key: Box<str>,
    /// The raw object.
    pub definition: Bytes,
    /// Where the key's JSON string lies in it, quotes included.
    pub key_range: Range<usize>,
}

impl Offer {
    /// Reads a definition; `None` if it has no name or names itself twice.
    #[must_use]
    pub fn read(kind: ListKind, raw: &RawValue) -> Option<Self> {
        let key = crate::mcp::field(raw.get(), kind.key())?;
        let start = key.get().as_ptr().addr() - raw.get().as_ptr().addr();
        Some(Self {
            key: text_of(key)?.into(),
            definition: Bytes::copy_from_slice(raw.get().as_bytes()),
            key_range: start..start + key.get().len(),
        })
    }
}

/// All that a server offers, in its own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Tools.
    pub tools: Vec<Offer>,
    /// Resources.
    pub resources: Vec<Offer>,
    /// Resource templates.
    pub templates: Vec<Offer>,
    /// Prompts.
    pub prompts: Vec<Offer>,
}

impl Offers {
    /// The list of a kind.
    #[must_use]
    pub fn list(&self, kind: ListKind) -> &[Offer] {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
            ListKind::Prompts => &self.prompts,
        }
    }

    /// The same, to change.
    pub fn list_mut(&mut self, kind: ListKind) -> &mut Vec<Offer> {
        match kind {
            ListKind::Tools => &mut self.tools,
            ListKind::Resources => &mut self.resources,
            ListKind::Templates => &mut self.templates,
            ListKind::Prompts => &mut self.prompts,
        }
    }
}
