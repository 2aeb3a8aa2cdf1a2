//! All legacy sessions: found by id, ended when idle for too long or when there are too many.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::session::{Session, SessionId};
use crate::{
    downstream::{endpoint::Endpoint, http::access::Caller},
    gateway::Gateway,
};

/// The table of sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<SessionId, Arc<Session>>>,
    most: usize,
    ttl: Duration,
}

/// There are as many sessions as allowed, and none is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {0} sessions allowed (limits.max_sessions) are in use")]
pub(crate) struct NoRoom(usize);

impl Sessions {
    pub(crate) fn new(most: usize, ttl: Duration) -> Self {
        Self {
            by_id: Mutex::default(),
            most,
            ttl,
        }
    }

    /// The session of that id, if it is `caller`'s, at `endpoint`.
    pub(super) fn find(&self, id: &str, caller: Caller, endpoint: &Arc<Endpoint>) -> Option<Arc<Session>> {
        let id = SessionId::parse(id)?;
        let session = self.lock().get(&id).map(Arc::clone)?;
        session.belongs_to(caller, endpoint).then_some(session)
    }

    /// Adds a session. Where there is no room, the sessions idle for longest make some, a hundredth at a time.
    pub(super) fn add(&self, session: &Arc<Session>, gateway: &Gateway) -> Result<(), NoRoom> {
        let mut evicted = Vec::new();
        {
            let mut by_id = self.lock();
            if by_id.len() >= self.most {
                let mut idle: Vec<_> = by_id
                    .values()
                    .filter_map(|session| session.idle_since().map(|at| (at, session.id)))
                    .collect();
                idle.sort_unstable_by_key(|(at, _)| *at);
                let some = idle.into_iter().take(self.most.div_ceil(100));
                evicted.extend(some.filter_map(|(_, id)| by_id.remove(&id)));
                if evicted.is_empty() {
                    return Err(NoRoom(self.most));
                }
            }
            by_id.insert(session.id, Arc::clone(session));
        }
        if !evicted.is_empty() {
            tracing::info!(
                sessions = evicted.len(),
                "ended the sessions idle for longest to make room"
            );
        }
        end(&evicted, gateway);
        Ok(())
    }

    /// Ends one session.
    pub(super) fn remove(&self, session: &Arc<Session>, gateway: &Gateway) {
        let removed = self.lock().remove(&session.id);
        end(removed.as_slice(), gateway);
    }

    /// Ends the sessions that were idle for too long.
    pub(crate) fn sweep(&self, gateway: &Gateway) {
        let mut gone = Vec::new();
        {
            let mut by_id = self.lock();
            by_id.retain(|_, session| {
                let keep = session.idle_since().is_none_or(|at| at.elapsed() < self.ttl);
                if !keep {
                    gone.push(Arc::clone(session));
                }
                keep
            });
        }
        end(&gone, gateway);
        let rest: Vec<_> = self.lock().values().map(Arc::clone).collect();
        for session in rest {
            session.sweep();
        }
    }

    /// How often [`Self::sweep`] should be called.
    pub(crate) fn sweep_every(&self) -> Duration {
        (self.ttl / 4).clamp(Duration::from_millis(100), Duration::from_secs(30))
    }

    /// Ends the general streams, so that their connections can close; the sessions stay for the calls in flight.
    pub(crate) fn close_streams(&self) {
        let all: Vec<_> = self.lock().values().map(Arc::clone).collect();
        for session in all {
            session.general.finish(None);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(sessions: &[Arc<Session>], gateway: &Gateway) {
    for session in sessions {
        gateway.close(&session.client);
        session.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Catalog,
        downstream::streamable::{session, stream::Bounds},
        gateway::{OnDrop, Opening, Principal, Scope},
    };

    fn session(gateway: &Gateway, endpoint: &Arc<Endpoint>, caller: u32) -> Arc<Session> {
        let general = session::general(Bounds {
            messages: 4,
            bytes: 100,
        });
        let client = gateway.open(Opening {
            scope: Scope::All,
            principal: Principal {
                name: Arc::from("test"),
            },
            on_drop: OnDrop::LetFinish,
            outbox: Arc::clone(&general) as _,
        });
        let id = SessionId::random();
        Arc::new(Session::new(id, client, general, Caller(caller), Arc::clone(endpoint)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_belongs_to_its_principal_and_endpoint() {
        let (gateway, sessions) = (
            Gateway::new(Catalog::new(100)),
            Sessions::new(10, Duration::from_mins(1)),
        );
        let [here, there] = [Arc::new(Endpoint::all(3)), Arc::new(Endpoint::all(3))];
        let ann = session(&gateway, &here, 1);
        sessions.add(&ann, &gateway).unwrap();
        let id = ann.id.to_string();
        assert!(sessions.find(&id, Caller(1), &here).is_some());
        assert!(sessions.find(&id, Caller(2), &here).is_none());
        assert!(sessions.find(&id, Caller(1), &there).is_none());
        sessions.remove(&ann, &gateway);
        assert!(sessions.find(&id, Caller(1), &here).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_idle_for_longest_makes_room() {
        let (gateway, sessions) = (
            Gateway::new(Catalog::new(100)),
            Sessions::new(3, Duration::from_mins(1)),
        );
        let here = Arc::new(Endpoint::all(1));
        let all: Vec<_> = (0..4).map(|_| session(&gateway, &here, 0)).collect();
        let busy = all[0].in_use();
        for session in &all[..3] {
            tokio::time::advance(Duration::from_secs(1)).await;
            session.touch();
            sessions.add(session, &gateway).unwrap();
        }
        sessions.add(&all[3], &gateway).unwrap();
        let alive = |n: usize| sessions.find(&all[n].id.to_string(), Caller(0), &here).is_some();
        assert_eq!([alive(0), alive(1), alive(2), alive(3)], [true, false, true, true]);
        let uses: Vec<_> = all.iter().map(Session::in_use).collect();
        let one_more = session(&gateway, &here, 0);
        assert_eq!(sessions.add(&one_more, &gateway), Err(NoRoom(3)));
        drop((busy, uses));
        tokio::time::advance(Duration::from_secs(61)).await;
        sessions.sweep(&gateway);
        assert_eq!(sessions.len(), 0);
    }
}
