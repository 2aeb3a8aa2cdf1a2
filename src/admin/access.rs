//! Who may use the admin door. Everybody who reaches it may ask for its health; as soon as there are tokens, everything else needs one.

use std::{future::Future, net::IpAddr, sync::Arc};

use axum::{Router, response::IntoResponse as _};
use http::{Request, header::WWW_AUTHENTICATE};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::problem::Problem;
use crate::{
    downstream::http::{
        access::{Access, Refusal},
        body::DoorBody,
        health,
        reply::Answer,
        serve::{Answers, Origin},
    },
    lifecycle::{Readiness, Tasks},
};

/// The admin door as a request finds it.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) access: Access,
    pub(super) routes: Router,
    pub(super) readiness: Readiness,
    pub(super) tasks: Tasks,
}

impl Answers for Guarded {
    fn answer(self: &Arc<Self>, from: Origin, request: Request<Incoming>) -> impl Future<Output = Answer> + Send {
        let door = Arc::clone(self);
        async move { door.enter(from.local, request).await }
    }
}

impl Guarded {
    async fn enter(&self, local: IpAddr, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = self.access.check_site(request.uri(), request.headers(), local) {
            return refuse(refusal);
        }
        if let Some(answer) = health::answer(request.uri().path(), request.method(), &self.readiness, &self.tasks) {
            return answer;
        }
        if let Err(refusal) = self.access.check_token(request.headers()) {
            return refuse(refusal);
        }
        let answer = match self.routes.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        answer.map(DoorBody::routed)
    }
}

fn refuse(refusal: Refusal) -> Answer {
    tracing::debug!(%refusal, "turned a request to the admin door away");
    let mut answer = Problem::new(refusal.status(), refusal.to_string()).into_response();
    if let Some(challenge) = refusal.challenge() {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer.map(DoorBody::routed)
}
