//! What the admin door tells of a service, and where it hears it.

use serde::{Serialize, Serializer};

use crate::supervisor::State;

/// Knows all services. Implemented where the hub is put together.
pub trait ServiceDirectory: Send + Sync + 'static {
    /// All configured services, in the order of their names.
    fn list(&self) -> Vec<ServiceReport>;
}

/// One service as `/api/v1/services` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// The state of its best instance.
    #[serde(serialize_with = "word")]
    pub state: State,
    /// How many times processes were started again after their first start.
    pub restarts: u64,
    /// How a process of it last ended.
    pub last_exit: Option<Exit>,
    /// What it offers.
    pub counts: Counts,
    /// Its processes, those to come included.
    pub instances: Vec<InstanceReport>,
    /// What it offers and clients can't see, because another service has the name.
    pub collisions: Vec<CollisionReport>,
}

/// A name that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollisionReport {
    /// `tool`, `prompt`, `resource` or `resource_template`.
    pub kind: &'static str,
    /// The name or URI as clients would see it.
    pub name: String,
    /// The service that has it.
    pub holder: String,
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// In a word of [`crate::supervisor::Reason`].
    pub reason: String,
    /// In a sentence.
    pub detail: String,
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if it was killed.
    pub signal: Option<i32>,
    /// The last lines of its stderr.
    pub stderr: Vec<String>,
}

/// How many entries a service offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Tools.
    pub tools: usize,
    /// Resources.
    pub resources: usize,
    /// Prompts.
    pub prompts: usize,
}

/// One process slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// Its name within the service.
    pub id: String,
    /// Where it is in its life.
    #[serde(serialize_with = "word")]
    pub state: State,
    /// Its process, if there is one.
    pub pid: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn word<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shape_is_the_published_one() {
        let report = ServiceReport {
            name: "git".to_owned(),
            state: State::CrashLoop,
            restarts: 2,
            last_exit: Some(Exit {
                reason: "exit 3".to_owned(),
                detail: "exited with code 3".to_owned(),
                code: Some(3),
                signal: None,
                stderr: vec!["no".to_owned()],
            }),
            counts: Counts::default(),
            instances: vec![InstanceReport {
                id: "legacy".to_owned(),
                state: State::Ready,
                pid: Some(7),
            }],
            collisions: vec![CollisionReport {
                kind: "tool",
                name: "log".to_owned(),
                holder: "fossil".to_owned(),
            }],
        };
        let wanted = json!({
            "name": "git", "state": "crash_loop", "restarts": 2,
            "last_exit": {
                "reason": "exit 3", "detail": "exited with code 3", "code": 3, "signal": null, "stderr": ["no"],
            },
            "counts": {"tools": 0, "resources": 0, "prompts": 0},
            "instances": [{"id": "legacy", "state": "ready", "pid": 7}],
            "collisions": [{"kind": "tool", "name": "log", "holder": "fossil"}],
        });
        assert_eq!(serde_json::to_value(report).unwrap(), wanted);
    }
}
