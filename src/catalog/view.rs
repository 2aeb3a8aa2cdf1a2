//! The catalog as one kind of client sees it.

use serde_json::{Value, json};

use super::{
    Collision, Entry, Table,
    store::{Known, Listed},
    uri_template::UriTemplate,
};
use crate::{
    config::ServiceName,
    mcp::{Era, Features},
    upstream::ListKind,
};

/// Longest instructions passed on for all services together, in characters: they go into every model's context.
const MAX_INSTRUCTIONS: usize = 16_000;

/// Which part of the catalog a door shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every service; names carry their prefix.
    All,
    /// One service; names as the service gave them.
    Service(ServiceName),
}

/// Which clients a view is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience {
    /// The endpoint.
    pub scope: Scope,
    /// The era clients speak.
    pub era: Era,
    /// What they can do: a server may offer more to those that can do more.
    pub features: Features,
}

/// An immutable snapshot for one audience.
#[derive(Debug)]
pub struct View {
    pub(super) generation: u64,
    tools: Table,
    resources: Table,
    templates: Table,
    prompts: Table,
    routes: Vec<(UriTemplate, ServiceName)>,
    collisions: Vec<Collision>,
    capabilities: Value,
    server_info: Value,
    instructions: Option<String>,
}

impl View {
    pub(super) fn build<'a>(
        generation: u64,
        audience: &Audience,
        services: impl Iterator<Item = (&'a ServiceName, &'a Listed)>,
        page_size: usize,
    ) -> Self {
        let mut view = Self {
            generation,
            tools: Table::default(),
            resources: Table::default(),
            templates: Table::default(),
            prompts: Table::default(),
            routes: Vec::new(),
            collisions: Vec::new(),
            capabilities: everything(),
            server_info: json!({"name": "mcpvisor", "version": env!("CARGO_PKG_VERSION")}),
            instructions: None,
        };
        let single = audience.scope != Scope::All;
        let mut instructions = String::new();
        for (name, listed) in services {
            let visible = match &audience.scope {
                Scope::All => listed.up || listed.naming.keep_when_down,
                Scope::Service(only) => only == name,
            };
            let Some(known) = listed.known(audience).filter(|_| visible) else {
                continue;
            };
            view.add(name, listed, known, single);
            if single {
                view.become_one(known);
            } else if let Some(text) = &known.introduction.instructions
                && instructions.chars().count() + text.chars().count() < MAX_INSTRUCTIONS
            {
                instructions.extend(["# ", name.as_str(), "\n\n", text.trim(), "\n\n"]);
            }
        }
        if !instructions.is_empty() {
            view.instructions = Some(instructions.trim_end().to_owned());
        }
        for table in [
            &mut view.tools,
            &mut view.resources,
            &mut view.templates,
            &mut view.prompts,
        ] {
            table.paginate(page_size);
        }
        view
    }

    fn add(&mut self, name: &ServiceName, listed: &Listed, known: &Known, single: bool) {
        let naming = (!single).then_some(&listed.naming);
        for kind in ListKind::ALL {
            let offers = known.offers.list(kind);
            let table = match kind {
                ListKind::Tools => &mut self.tools,
                ListKind::Resources => &mut self.resources,
                ListKind::Templates => &mut self.templates,
                ListKind::Prompts => &mut self.prompts,
            };
            table.add(kind, name, naming, offers, &mut self.collisions);
        }
        for template in &known.offers.templates {
            self.routes.push((UriTemplate::parse(&template.key), name.clone()));
        }
    }

    /// An endpoint of one service introduces itself as that service.
    fn become_one(&mut self, known: &Known) {
        if known.introduction.server_info.is_object() {
            self.server_info = known.introduction.server_info.clone();
        }
        self.instructions.clone_from(&known.introduction.instructions);
        if let Some(theirs) = known.introduction.capabilities.as_object() {
            let mut capabilities = theirs.clone();
            for listed in ["tools", "prompts", "resources"] {
                if let Some(capability) = capabilities.get_mut(listed).and_then(Value::as_object_mut) {
                    // The hub itself tells of changes, whether or not the server does.
                    capability.insert("listChanged".to_owned(), true.into());
                }
            }
            // Tasks and extensions need more than a relay of requests.
            capabilities.remove("tasks");
            self.capabilities = Value::Object(capabilities);
        }
    }

    /// The list of a kind.
    #[must_use]
    pub fn table(&self, kind: ListKind) -> &Table {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
            ListKind::Prompts => &self.prompts,
        }
    }

    /// The service that serves `uri`: who listed it, else whose template fits it best, else who alone has its scheme.
    #[must_use]
    pub fn route_uri(&self, uri: &str) -> Option<&ServiceName> {
        if let Some(entry) = self.resources.find(uri).or_else(|| self.templates.find(uri)) {
            return Some(&entry.service);
        }
        let by_template = self
            .routes
            .iter()
            .filter(|(template, _)| template.matches(uri))
            // The first of equals, as in lists.
            .rev()
            .max_by_key(|(template, _)| template.weight());
        if let Some((_, service)) = by_template {
            return Some(service);
        }
        let scheme = uri.split_once(':')?.0;
        let mut owners = self
            .resources
            .entries()
            .iter()
            .chain(self.templates.entries())
            .filter(|entry: &&Entry| entry.exposed.split_once(':').is_some_and(|(own, _)| own == scheme))
            .map(|entry| &entry.service);
        let first = owners.next()?;
        owners.all(|other| other == first).then_some(first)
    }

    /// What is not shown because its name is taken.
    #[must_use]
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// `ServerCapabilities` to declare.
    #[must_use]
    pub fn capabilities(&self) -> &Value {
        &self.capabilities
    }

    /// `Implementation` to introduce ourselves as.
    #[must_use]
    pub fn server_info(&self) -> &Value {
        &self.server_info
    }

    /// Instructions of the service, or of all under headings.
    #[must_use]
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }
}

/// All that services might offer, for one that is still starting will be there soon.
fn everything() -> Value {
    json!({
        "tools": {"listChanged": true},
        "prompts": {"listChanged": true},
        "resources": {"listChanged": true, "subscribe": true},
        "logging": {},
        "completions": {},
    })
}
