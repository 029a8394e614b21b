//! A route's door: what is asked there, and who decides.

#[cfg(feature = "remote")]
use std::pin::Pin;

use http::request::Parts;
use keyrack_core::{Refusal, Standing};

use crate::arrival::Arrival;
use crate::body::Note;
use crate::grant::Grant;
use crate::keyrack::{Decides, Keyrack};
use crate::refused::Refused;
use crate::require::{RequireKey, SetupError};

/// A door.
pub(crate) struct Door {
    keyrack: Keyrack,
    query_key: bool,
    guard: Guard,
}

enum Guard {
    #[cfg(feature = "engine")]
    InProcess(crate::in_process::Guard),
    #[cfg(feature = "remote")]
    Remote(crate::remote::Guard),
}

/// What was decided.
pub(crate) struct Decided {
    /// Who is let in, if anybody is; at a public door nobody in particular.
    pub(crate) outcome: Result<Option<Grant>, Refusal>,
    /// How limits stand, if they were looked at.
    pub(crate) standing: Option<Box<Standing>>,
    /// Where it is told what becomes of the request.
    pub(crate) note: Note,
}

/// It cannot be decided now; in words for whoever asks.
pub(crate) struct Undecided(pub(crate) &'static str);

impl Undecided {
    /// What there is to say where the cause concerns the service alone.
    pub(crate) const UNKNOWN: Self = Self("whether this may be done cannot be decided now");
}

/// Who is let in, and what is to be done once the request is answered.
pub(crate) struct Admitted {
    pub(crate) grant: Option<Grant>,
    pub(crate) standing: Option<Box<Standing>>,
    pub(crate) note: Note,
}

/// Asks with what it needs for that apart in memory, and not inlined: else every request would be as large, also where nobody
/// is asked.
#[cfg(feature = "remote")]
#[inline(never)]
fn apart<'r>(
    guard: &'r crate::remote::Guard,
    arrival: Arrival<'r>,
) -> Pin<Box<dyn Future<Output = Result<Decided, Undecided>> + Send + 'r>> {
    Box::pin(guard.decide(arrival))
}

impl Door {
    pub(crate) fn new(keyrack: &Keyrack, asked: RequireKey) -> Result<Self, SetupError> {
        asked.check(keyrack.any_organization)?;
        let query_key = asked.query_key;
        let guard = match &keyrack.decides {
            #[cfg(feature = "engine")]
            Decides::InProcess(engine) => Guard::InProcess(engine.guard(asked, keyrack.any_organization)?),
            #[cfg(feature = "remote")]
            Decides::Remote(remote) => Guard::Remote(remote.guard(asked, keyrack.any_organization)?),
        };
        Ok(Self { keyrack: keyrack.clone(), query_key, guard })
    }

    /// Decides about a request: who is let in, or what to answer.
    pub(crate) async fn decide(&self, request: &Parts) -> Result<Admitted, Refused> {
        let arrival = Arrival::of(request, self.query_key, &self.keyrack.trusted_proxies);
        let decided = match &self.guard {
            #[cfg(feature = "engine")]
            Guard::InProcess(guard) => guard.decide(arrival).await,
            #[cfg(feature = "remote")]
            Guard::Remote(guard) => apart(guard, arrival).await,
        };
        let Decided { outcome, standing, mut note } = decided.map_err(|Undecided(why)| Refused::undecided(why))?;
        match outcome {
            Ok(grant) => Ok(Admitted { grant, standing, note }),
            Err(refusal) => {
                note.answered(refusal.status);
                Err(Refused { refusal, standing })
            }
        }
    }
}
