//! Method names, both eras.

/// Handshake of the legacy era.
pub const INITIALIZE: &str = "initialize";
/// Liveness of the legacy era.
pub const PING: &str = "ping";
/// What a modern server is and can do.
pub const DISCOVER: &str = "server/discover";
/// One page of tools.
pub const TOOLS_LIST: &str = "tools/list";
/// A tool call.
pub const TOOLS_CALL: &str = "tools/call";
/// One page of resources.
pub const RESOURCES_LIST: &str = "resources/list";
/// One page of resource templates.
pub const TEMPLATES_LIST: &str = "resources/templates/list";
/// The contents of a resource.
pub const RESOURCES_READ: &str = "resources/read";
/// Legacy: tell me when a resource changes.
pub const RESOURCES_SUBSCRIBE: &str = "resources/subscribe";
/// Legacy: stop telling me.
pub const RESOURCES_UNSUBSCRIBE: &str = "resources/unsubscribe";
/// One page of prompts.
pub const PROMPTS_LIST: &str = "prompts/list";
/// A prompt filled in.
pub const PROMPTS_GET: &str = "prompts/get";
/// Completion of an argument.
pub const COMPLETE: &str = "completion/complete";
/// Legacy: the least severe log message wanted.
pub const SET_LEVEL: &str = "logging/setLevel";
/// Modern: one stream of change notifications.
pub const LISTEN: &str = "subscriptions/listen";

/// Server to client, legacy.
pub const ROOTS_LIST: &str = "roots/list";
/// Server to client, legacy.
pub const SAMPLING: &str = "sampling/createMessage";
/// Server to client, legacy.
pub const ELICITATION: &str = "elicitation/create";

/// The handshake is over.
pub const INITIALIZED: &str = "notifications/initialized";
/// A request is no longer wanted.
pub const CANCELLED: &str = "notifications/cancelled";
/// How far a request is.
pub const PROGRESS: &str = "notifications/progress";
/// A log message.
pub const LOG_MESSAGE: &str = "notifications/message";
/// Tools changed.
pub const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
/// Prompts changed.
pub const PROMPTS_CHANGED: &str = "notifications/prompts/list_changed";
/// Resources or templates changed.
pub const RESOURCES_CHANGED: &str = "notifications/resources/list_changed";
/// One subscribed resource changed.
pub const RESOURCE_UPDATED: &str = "notifications/resources/updated";
/// The client's roots changed.
pub const ROOTS_CHANGED: &str = "notifications/roots/list_changed";
/// Modern: what a listen stream will carry.
pub const LISTEN_ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
