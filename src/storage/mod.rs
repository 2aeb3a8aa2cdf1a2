//! What survives a restart: the data folder with its lock, and the database in it behind repositories.

mod catalogs;
mod data_dir;
mod eras;
mod hub_file;
mod leftovers;
mod open;

pub use catalogs::{Catalogs, StoredCatalog};
pub use data_dir::{DataDir, LockError};
pub use eras::{Eras, StoredEra};
pub use hub_file::{HubFile, HubInfo};
pub use leftovers::{HubRun, Leftover, Leftovers};
pub use open::{OpenError, QueryError, Storage};
