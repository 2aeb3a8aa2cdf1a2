//! One list of a view: its entries in order, found by name, and its pages as bytes.

use std::collections::HashMap;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Naming, exposed_name};
use crate::{
    config::ServiceName,
    jsonrpc::{Splice, json_string},
    upstream::{ListKind, Offer},
};

/// Stands in the schema of a tool whose arguments are mirrored.
const MIRRORED: &[u8] = b"x-mcp-header";

/// One tool, prompt, resource or template as a client sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name or URI clients use.
    pub exposed: Box<str>,
    /// Whose it is.
    pub service: ServiceName,
    /// The service's own name for it as a JSON string, if it differs.
    pub original: Option<Box<str>>,
    /// The definition as clients see it.
    pub definition: Bytes,
    /// Whether it may name arguments that clients repeat in HTTP headers (2026-07-28, `x-mcp-header`).
    pub mirrored: bool,
}

/// An entry that is not shown because another service, earlier in the order, has the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// In which list.
    pub kind: ListKind,
    /// The name or URI.
    pub exposed: Box<str>,
    /// Whose entry is not shown.
    pub service: ServiceName,
    /// Whose entry is.
    pub holder: ServiceName,
}

/// All entries of one kind.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Entry>,
    index: HashMap<Box<str>, usize>,
    pages: Vec<Bytes>,
}

impl Table {
    /// Adds a service's offers; what collides comes back.
    pub(super) fn add(
        &mut self,
        kind: ListKind,
        service: &ServiceName,
        naming: Option<&Naming>,
        offers: &[Offer],
        collisions: &mut Vec<Collision>,
    ) {
        for offer in offers {
            // Only tools and prompts are renamed; URIs stay what they are.
            let exposed: Box<str> = match (kind, naming) {
                (ListKind::Tools | ListKind::Prompts, Some(naming)) => exposed_name(naming, &offer.key).into(),
                (ListKind::Tools | ListKind::Prompts | ListKind::Resources | ListKind::Templates, _) => {
                    offer.key.clone()
                }
            };
            if let Some(holder) = self.find(&exposed) {
                collisions.push(Collision {
                    kind,
                    exposed,
                    service: service.clone(),
                    holder: holder.service.clone(),
                });
                continue;
            }
            let renamed = exposed != offer.key;
            let definition = if renamed {
                let name = json_string(&exposed);
                Splice::new(&offer.definition, name.len())
                    .replace(&offer.key_range, name.as_bytes())
                    .finish()
            } else {
                offer.definition.clone()
            };
            self.index.insert(exposed.clone(), self.entries.len());
            self.entries.push(Entry {
                exposed,
                service: service.clone(),
                original: renamed.then(|| json_string(&offer.key).into()),
                mirrored: kind == ListKind::Tools && memchr::memmem::find(&definition, MIRRORED).is_some(),
                definition,
            });
        }
    }

    /// Cuts the pages, of at most `size` entries each.
    pub(super) fn paginate(&mut self, size: usize) {
        self.pages = self
            .entries
            .chunks(size.max(1))
            .map(|entries| {
                let length: usize = entries.iter().map(|entry| entry.definition.len() + 1).sum();
                let mut page = BytesMut::with_capacity(length + 2);
                page.put_u8(b'[');
                for (index, entry) in entries.iter().enumerate() {
                    if index > 0 {
                        page.put_u8(b',');
                    }
                    page.put_slice(&entry.definition);
                }
                page.put_u8(b']');
                page.freeze()
            })
            .collect();
        if self.pages.is_empty() {
            self.pages.push(Bytes::from_static(b"[]"));
        }
    }

    /// The entry clients know as `exposed`.
    #[must_use]
    pub fn find(&self, exposed: &str) -> Option<&Entry> {
        self.index.get(exposed).and_then(|index| self.entries.get(*index))
    }

    /// All entries in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Page `number`, from 0, as a JSON array, and whether another follows.
    #[must_use]
    pub fn page(&self, number: usize) -> Option<(&Bytes, bool)> {
        self.pages.get(number).map(|page| (page, number + 1 < self.pages.len()))
    }
}
