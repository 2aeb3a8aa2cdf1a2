//! The hub from start to end, in order.

use std::{io::Write as _, sync::Arc};

use super::{
    banner::{Addresses, banner},
    describe::{Surroundings, describe},
    directory::Directory,
    groups,
    keep::{keeper, recall},
    reload,
    replacing::Replacing,
    services::Launcher,
    stop::{Budget, close, drain},
    strays,
};
use crate::{
    admin,
    catalog::Catalog,
    clock::Clock,
    config::{Config, Flags, Loaded, Transport},
    downstream,
    gateway::{Gateway, GatewayEvents},
    lifecycle::{Ending, Readiness, Tasks, signals},
    storage::{DataDir, HubInfo, LockError, OpenError, QueryError, Storage},
    supervisor::{
        Permits, UnitContext,
        process::{self, Cgroups},
    },
    telemetry::TelemetryGuard,
};

/// Why the hub could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A door's address can't be had.
    #[error(transparent)]
    Bind(#[from] downstream::BindError),
    /// The data folder can't be used, or belongs to another hub.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database can't be used.
    #[error("could not open the database")]
    Open(#[from] OpenError),
    /// The database can't be read.
    #[error("could not read the database")]
    Query(#[from] QueryError),
    /// The system refuses something every process may do.
    #[error("could not {act}")]
    System {
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
}

impl RunError {
    /// Whether the one who started the hub can mend it by other settings (exit code 78).
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Bind(_) | Self::Lock(_) => true,
            Self::Open(_) | Self::Query(_) | Self::System { .. } => false,
        }
    }
}

/// Runs the hub until it is asked to stop. Nothing is served and no child started before all addresses are bound.
///
/// # Errors
/// [`RunError`] if the start fails.
pub async fn run(flags: &Flags, loaded: Loaded, telemetry: Arc<TelemetryGuard>) -> Result<Ending, RunError> {
    let tasks = Tasks::default();
    // First of all: PID 1 does not even die of a signal that nobody handles.
    let reloads = signals::install(&tasks).map_err(system("handle signals"))?;
    let config = Arc::new(loaded.config.clone());
    let doors = downstream::bind(&config)?;
    let admin_door = admin::bind(&config)?;
    let folder = DataDir::lock(&config.data_dir)?;
    let own_binary = UnitContext::own_program().map_err(system("find the hub's own binary"))?;
    prepare_for_children();

    let storage = Storage::open_in(folder).await?;
    let clock = Clock::default();
    let hub_id: Arc<str> = format!("{}-{}", std::process::id(), clock.now_unix_millis()).into();
    let cgroups = make_room(&config, &storage, &hub_id, &tasks).await;

    let gateway = Gateway::new(Catalog::new(config.limits.page_size));
    let events = GatewayEvents::new(gateway.clone());
    let units = tokio_util::sync::CancellationToken::new();
    let replacing = Replacing::default();
    let logs = Arc::clone(&telemetry);
    let launcher = Launcher {
        gateway: gateway.clone(),
        events: events.clone(),
        describe: describe(Surroundings {
            own_binary: own_binary.clone(),
            drain: config.limits.drain,
            line_limit: config.limits.max_line_bytes,
            log: Box::new(move |service| logs.child_log(service)),
        }),
        context: UnitContext {
            tasks: tasks.clone(),
            permits: Permits::new(config.limits.concurrent_starts),
            guard: own_binary,
            hub_id: Arc::clone(&hub_id),
            cgroups: cgroups.clone(),
            stop: units.clone(),
            stop_budget: config.limits.stop_budget,
        },
        line_limit: config.limits.max_line_bytes,
        name_limit: config.names.max_length,
        tasks: tasks.clone(),
        replacing: replacing.clone(),
    };
    for service in config.services.values() {
        launcher.list(service);
    }
    let eras = recall(&storage, &config, gateway.catalog(), &clock).await?;
    events.keep_with(keeper(&storage, &tasks, clock));

    let readiness = Readiness::default();
    let starting = readiness.wait_for("services");
    let addresses = Addresses {
        http: doors.address(),
        admin: admin_door.address(),
    };
    let doors = doors.serve(&config, gateway.clone(), &tasks, readiness.clone());
    let directory = Arc::new(Directory::new(gateway.clone(), replacing.clone()));
    let admin_door = admin_door.serve(&config, directory, &tasks, readiness.clone());
    launcher.launch_all(&config, eras);
    drop(starting);
    let hub_file = HubInfo::of_this_process(addresses.http_url(), addresses.admin_url())
        .write(&config.data_dir)
        .map_err(system("write `hub.json` into the data folder"))?;
    say(&banner(&config, addresses));
    reload::follow(flags, &loaded, launcher, Arc::clone(&telemetry), reloads, &tasks);
    serve_stdio(&config, &gateway, &tasks);

    let asked = tasks.asked_or_failed().await;
    let budget = Budget::begins(&config);
    tracing::info!("stopping: calls in flight may finish");
    let cut = drain(&config, &gateway, &replacing, &tasks).await;
    // Every call has its answer; children stop while the doors hand the last of them over.
    units.cancel();
    close(&doors, &admin_door).await;
    let ending = tasks.finish(budget.left(&config)).await;
    strays::sweep_inherited(&hub_id).await;
    if let Err(error) = storage.leftovers().end(&hub_id).await {
        tracing::warn!(%error, "the end of this run could not be noted");
    }
    storage.close().await;
    groups::leave(cgroups.as_deref());
    drop(hub_file);
    tracing::info!(?ending, cut, "stopped");
    Ok(ending.and(asked))
}

/// Finds out what can hold services, and clears away what a hub that is gone left.
async fn make_room(config: &Config, storage: &Storage, hub_id: &str, tasks: &Tasks) -> Option<Arc<Cgroups>> {
    let cgroups = groups::find(config, hub_id);
    strays::reconcile(storage, hub_id, cgroups.as_ref()).await;
    strays::tend(storage, hub_id, cgroups.as_ref(), tasks);
    cgroups
}

fn prepare_for_children() {
    if let Err(error) = process::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    process::become_subreaper();
}

fn system(act: &'static str) -> impl Fn(std::io::Error) -> RunError {
    move |cause| RunError::System { act, cause }
}

fn serve_stdio(config: &Arc<Config>, gateway: &Gateway, tasks: &Tasks) {
    if config.transport == Transport::Sse {
        return;
    }
    let (config, gateway, t) = (Arc::clone(config), gateway.clone(), tasks.clone());
    tasks.spawn("downstream.stdio", async move {
        let end = downstream::stdio(gateway, &config.limits, &t.stop_token()).await;
        tracing::info!(?end, "the stdio door has closed");
        if config.transport == Transport::Stdio {
            t.stop();
        }
    });
}

/// The banner goes to stderr, whatever the log level is.
fn say(text: &str) {
    // Nobody reading stderr is no reason to fail.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}
