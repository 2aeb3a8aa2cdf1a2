//! The handle: what each service offers, by variant, and the views made from it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;

use super::{Audience, Collision, Naming, Scope, View};
use crate::{
    config::ServiceName,
    mcp::{Era, Features},
    upstream::{Introduction, ListKind, Offers, Variant},
};

/// Whether a service can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It answers.
    Up,
    /// It does not; what it offered last may still be listed.
    Down,
}

/// How many entries a service offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tools.
    pub tools: usize,
    /// Resources.
    pub resources: usize,
    /// Prompts.
    pub prompts: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) introduction: Arc<Introduction>,
    pub(super) offers: Arc<Offers>,
}

#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) naming: Naming,
    pub(super) up: bool,
    variants: BTreeMap<Variant, Known>,
}

impl Listed {
    /// What to show an audience: what its own kind of connection offers, else what the first one does.
    pub(super) fn known(&self, audience: &Audience) -> Option<&Known> {
        let own = match audience.era {
            Era::Modern => Variant::MODERN,
            Era::Legacy => Variant {
                features: audience.features,
                ..Variant::BASE
            },
        };
        self.variants
            .get(&own)
            .or_else(|| self.variants.get(&Variant::BASE))
            .or_else(|| self.variants.get(&Variant::MODERN))
            .or_else(|| self.variants.values().next())
    }
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    services: BTreeMap<ServiceName, Listed>,
}

/// All that is offered. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Catalog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: ArcSwap<State>,
    views: ArcSwap<HashMap<Audience, Arc<View>>>,
    changes: Mutex<()>,
    page_size: usize,
}

impl Catalog {
    /// An empty catalog whose pages hold `page_size` entries.
    #[must_use]
    pub fn new(page_size: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: ArcSwap::default(),
                views: ArcSwap::default(),
                changes: Mutex::new(()),
                page_size,
            }),
        }
    }

    /// The view of an audience; made at the first look after a change.
    #[must_use]
    pub fn view(&self, audience: &Audience) -> Arc<View> {
        let state = self.shared.state.load();
        if let Some(view) = self.shared.views.load().get(audience)
            && view.generation == state.generation
        {
            return Arc::clone(view);
        }
        let _changing = self.lock();
        let state = self.shared.state.load();
        let views = self.shared.views.load();
        if let Some(view) = views.get(audience)
            && view.generation == state.generation
        {
            return Arc::clone(view);
        }
        let view = Arc::new(View::build(
            state.generation,
            audience,
            state.services.iter(),
            self.shared.page_size,
        ));
        let mut fresh: HashMap<_, _> = views
            .iter()
            .filter(|(_, view)| view.generation == state.generation)
            .map(|(audience, view)| (audience.clone(), Arc::clone(view)))
            .collect();
        fresh.insert(audience.clone(), Arc::clone(&view));
        self.shared.views.store(Arc::new(fresh));
        view
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ServiceName, Listed>) -> (bool, T)) -> T {
        let _changing = self.lock();
        let state = self.shared.state.load();
        let mut services = state.services.clone();
        let (changed, value) = change(&mut services);
        if changed {
            self.shared.state.store(Arc::new(State {
                generation: state.generation + 1,
                services,
            }));
        }
        value
    }

    /// A service is configured (again); what is known of it stays.
    pub fn configure(&self, service: &ServiceName, naming: Naming) {
        self.change(|services| match services.get_mut(service) {
            Some(listed) if listed.naming == naming => (false, ()),
            Some(listed) => {
                listed.naming = naming;
                (true, ())
            }
            None => {
                let listed = Listed {
                    naming,
                    up: false,
                    variants: BTreeMap::new(),
                };
                services.insert(service.clone(), listed);
                (true, ())
            }
        });
    }

    /// A service is gone from the configuration.
    pub fn remove(&self, service: &ServiceName) {
        self.change(|services| (services.remove(service).is_some(), ()));
    }

    /// A service's program was replaced: what only the old one's connections offered is no longer believed.
    pub fn keep_only(&self, service: &ServiceName, variants: &[Variant]) {
        self.change(|services| match services.get_mut(service) {
            Some(listed) => {
                let before = listed.variants.len();
                listed.variants.retain(|variant, _| variants.contains(variant));
                (listed.variants.len() != before, ())
            }
            None => (false, ()),
        });
    }

    /// What a connection learned. Answers the lists that changed for those who see this variant.
    pub fn learn(
        &self,
        service: &ServiceName,
        variant: Variant,
        introduction: &Arc<Introduction>,
        offers: &Arc<Offers>,
    ) -> Vec<ListKind> {
        let key = Variant {
            features: variant.features.without(Features::ROOTS),
            owner: None,
            ..variant
        };
        self.change(|services| {
            let Some(listed) = services.get_mut(service) else {
                return (false, Vec::new());
            };
            let before = listed
                .variants
                .get(&key)
                .or_else(|| listed.variants.get(&Variant::BASE))
                .cloned();
            let known = Known {
                introduction: Arc::clone(introduction),
                offers: Arc::clone(offers),
            };
            let same = before
                .as_ref()
                .is_some_and(|before| before.introduction == known.introduction && before.offers == known.offers);
            let new_key = listed.variants.insert(key, known).is_none();
            let changed = ListKind::ALL
                .into_iter()
                .filter(|kind| {
                    before
                        .as_ref()
                        .is_none_or(|before| before.offers.list(*kind) != offers.list(*kind))
                })
                .filter(|kind| before.is_some() || !offers.list(*kind).is_empty())
                .collect();
            (!same || new_key, changed)
        })
    }

    /// A service came up or went down. Answers whether lists changed by it.
    pub fn set_presence(&self, service: &ServiceName, presence: Presence) -> bool {
        self.change(|services| match services.get_mut(service) {
            Some(listed) if listed.up != (presence == Presence::Up) => {
                listed.up = presence == Presence::Up;
                let shows = !listed.naming.keep_when_down && !listed.variants.is_empty();
                (true, shows)
            }
            Some(_) | None => (false, false),
        })
    }

    /// Whether the service is configured.
    #[must_use]
    pub fn has(&self, service: &ServiceName) -> bool {
        self.shared.state.load().services.contains_key(service)
    }

    /// Whether it is known what the service offers.
    #[must_use]
    pub fn is_known(&self, service: &ServiceName) -> bool {
        let state = self.shared.state.load();
        state
            .services
            .get(service)
            .is_some_and(|listed| !listed.variants.is_empty())
    }

    /// What a service said of itself, to the best-suited variant.
    #[must_use]
    pub fn introduction(&self, service: &ServiceName, era: Era) -> Option<Arc<Introduction>> {
        let audience = Audience {
            scope: Scope::All,
            era,
            features: Features::NONE,
        };
        let state = self.shared.state.load();
        let known = state.services.get(service)?.known(&audience)?;
        Some(Arc::clone(&known.introduction))
    }

    /// How much a service offers.
    #[must_use]
    pub fn counts(&self, service: &ServiceName) -> Counts {
        let audience = Audience {
            scope: Scope::All,
            era: Era::Legacy,
            features: Features::NONE,
        };
        let state = self.shared.state.load();
        state
            .services
            .get(service)
            .and_then(|listed| listed.known(&audience))
            .map(|known| Counts {
                tools: known.offers.tools.len(),
                resources: known.offers.resources.len(),
                prompts: known.offers.prompts.len(),
            })
            .unwrap_or_default()
    }

    /// Names that are taken, over the whole catalog.
    #[must_use]
    pub fn collisions(&self) -> Vec<Collision> {
        self.view(&Audience {
            scope: Scope::All,
            era: Era::Legacy,
            features: Features::NONE,
        })
        .collisions()
        .to_vec()
    }
}
