//! The last good catalogue as it is stored between runs of the hub.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::naming::hex_digest;
use crate::{
    config::{Service, Source},
    mcp::{Era, Features},
    upstream::{Introduction, ListKind, Offer, Offers, Variant},
};

/// What one variant of a service offered, in a form to store.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredOffers {
    era: String,
    features: serde_json::Value,
    introduction: Introduction,
    tools: Vec<Box<RawValue>>,
    resources: Vec<Box<RawValue>>,
    templates: Vec<Box<RawValue>>,
    prompts: Vec<Box<RawValue>>,
}

impl StoredOffers {
    /// Makes the stored form.
    #[must_use]
    pub fn of(variant: Variant, introduction: &Introduction, offers: &Offers) -> Self {
        let raw = |kind| {
            offers
                .list(kind)
                .iter()
                .filter_map(|offer| String::from_utf8(offer.definition.to_vec()).ok())
                .filter_map(|text| RawValue::from_string(text).ok())
                .collect()
        };
        Self {
            era: variant.era.as_str().to_owned(),
            features: variant.features.to_capabilities(),
            introduction: introduction.clone(),
            tools: raw(ListKind::Tools),
            resources: raw(ListKind::Resources),
            templates: raw(ListKind::Templates),
            prompts: raw(ListKind::Prompts),
        }
    }

    /// The variant, introduction and offers again.
    #[must_use]
    pub fn into_parts(self) -> (Variant, Introduction, Offers) {
        let read = |kind, list: &[Box<RawValue>]| list.iter().filter_map(|raw| Offer::read(kind, raw)).collect();
        let variant = Variant {
            era: if self.era == Era::Modern.as_str() {
                Era::Modern
            } else {
                Era::Legacy
            },
            features: Features::read(&self.features),
            owner: None,
        };
        let offers = Offers {
            tools: read(ListKind::Tools, &self.tools),
            resources: read(ListKind::Resources, &self.resources),
            templates: read(ListKind::Templates, &self.templates),
            prompts: read(ListKind::Prompts, &self.prompts),
        };
        (variant, self.introduction, offers)
    }
}

/// Tells one program from another: a stored catalogue is only believed for the command it came from.
#[must_use]
pub fn fingerprint(service: &Service) -> String {
    let mut text = String::new();
    // Each part is preceded by its length, so that parts can't run into each other.
    let mut part = |value: &str| {
        text.push_str(&value.len().to_string());
        text.push(':');
        text.push_str(value);
    };
    match &service.source {
        Source::Demo => part(env!("CARGO_PKG_VERSION")),
        Source::Remote(remote) => {
            part(&remote.url.to_string());
            part(&format!("{:?}", remote.transport));
            for (name, value) in &remote.headers {
                part(name);
                part(value.expose());
            }
        }
        Source::Command(command) => {
            part(&command.program);
            part(&command.args.len().to_string());
            command.args.iter().for_each(|argument| part(argument));
            for (name, value) in &command.env {
                part(name);
                // A secret changes what a server offers as an argument does; hashed, it is not stored.
                part(value.expose());
            }
            part(
                &command
                    .cwd
                    .as_ref()
                    .map_or_else(String::new, |cwd| cwd.display().to_string()),
            );
        }
    }
    hex_digest(text.as_bytes(), 32)
}
