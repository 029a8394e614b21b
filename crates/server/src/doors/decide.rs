//! What every door does with a request before it lets it through: who calls, and does the route's guard let them in.

use http::{Extensions, HeaderMap, Method};
use keyrack_core::carrier::Carried;
use keyrack_core::decide::Place;
use keyrack_core::{Decision, Grant};
use keyrack_engine::{Call, Charge, LiveRoute, Person, Presented, Verdict, Visit};

use super::headers::Identity;
use crate::app::App;
use crate::caller;
use crate::error::ApiError;
use crate::metrics::{Door, decided};

/// A request as its caller sent it: the one that came, or the one that a proxy asks about.
pub(super) struct Asked<'r> {
    pub(super) method: &'r Method,
    pub(super) query: Option<&'r str>,
    pub(super) headers: &'r HeaderMap,
    pub(super) extensions: &'r Extensions,
    /// Where it is, as far as workspaces are concerned.
    pub(super) place: Place,
}

/// What was decided, for whoever is let in.
pub(super) struct Decided {
    pub(super) verdict: Verdict,
    pub(super) visit: Visit,
    pub(super) session: Option<Person>,
    /// The `Authorization` is between the caller and the target.
    pub(super) keeps_authorization: bool,
}

/// Decides about a request to a route.
pub(super) async fn decide(app: &App, door: Door, route: &LiveRoute, asked: &Asked<'_>) -> Result<Decided, ApiError> {
    let guard = &route.guard;
    let session = if guard.sessions { caller::session(app, asked.headers, asked.method).await? } else { None };
    let credential = caller::credential(asked.headers, asked.query.filter(|_| guard.query_key));
    let keeps_authorization = guard.public && credential == Carried::Foreign;
    let presented = Presented {
        credential,
        session,
        method: asked.method.as_str(),
        address: caller::address(app, asked.headers, asked.extensions),
        place: asked.place,
        charge: Charge::Units(1),
        call: Call {
            endpoint: &route.route.path,
            user_agent: caller::user_agent(asked.headers),
            door: Some(route.route.organization),
        },
    };
    let (verdict, mut visit) = app.engine.visit(guard, &presented).await?;
    decided(door, verdict.reason());
    match verdict.reason() {
        Some(reason) => {
            let refusal = ApiError { standing: verdict.standing, ..ApiError::denied(reason) };
            visit.answered(refusal.status.as_u16());
            Err(refusal)
        }
        None => Ok(Decided { verdict, visit, session: presented.session, keeps_authorization }),
    }
}

/// Who the target is told it is.
pub(super) fn identity(app: &App, verdict: &Verdict, session: Option<&Person>) -> Result<Identity, ApiError> {
    Ok(match (verdict.decision, verdict.admitted(), session) {
        (Decision::Grant(Grant::Key(_)), Some(key), _) => Identity::of_key(key),
        (Decision::Grant(Grant::Session(role)), _, Some(person)) => {
            let tenant = app.engine.directory().tenant(person.organization).ok_or_else(ApiError::unauthorized)?;
            Identity::of_person(person, &tenant, role)
        }
        _ => Identity::default(),
    })
}
