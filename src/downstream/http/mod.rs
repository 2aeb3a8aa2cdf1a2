//! What all doors over HTTP share: sockets, deadlines, who may come in, bodies, and which path leads where.

pub(crate) mod access;
pub(crate) mod authority;
pub(crate) mod body;
mod cors;
pub(crate) mod health;
mod holder;
pub(crate) mod intake;
pub(crate) mod listen;
pub(crate) mod media;
pub(crate) mod pulse;
pub(crate) mod reply;
pub(crate) mod router;
pub(crate) mod serve;
