//! Tests of the whole way from files, variables and flags to a configuration.

mod loading;
mod place;
mod promises;
mod watching;
