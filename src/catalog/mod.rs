//! What clients can see: immutable views over all that the services offer, with names, pages and routes.
//!
//! A view is made once per change and kind of client, so that a list is answered by copying bytes and a name is found
//! without a lock. What a service offered last is kept while it is down, across restarts of the hub too.

mod naming;
mod persist;
mod store;
mod table;
mod uri_template;
mod view;

pub use naming::{Naming, exposed_name};
pub use persist::{StoredOffers, fingerprint};
pub use store::{Catalog, Counts, Presence};
pub use table::{Collision, Entry, Table};
pub use view::{Audience, Scope, View};
