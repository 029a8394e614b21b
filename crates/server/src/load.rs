//! How much is worked on at once, and what is refused when it becomes too much: a quick 503 for some, while everybody else is
//! answered as ever. What must not wait never does: to revoke a key, and to ask how the server is.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::ApiError;

/// How many requests have the database at once.
const AT_THE_DATABASE: usize = 64;
/// How many more may wait for it.
const WAITING: usize = 448;
/// How long they wait at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many requests may be on their way to services behind doors.
const FORWARDED: usize = 8192;

/// What a request takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// It is answered whatever else is asked: revoking, and health.
    Vital,
    /// It is decided from memory and waits for nothing.
    Memory,
    /// It waits for the database.
    Database,
}

/// A request that came over one of the last connections there is room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowded;

/// What is being worked on.
pub(crate) struct Load {
    places: Semaphore,
    database: Semaphore,
    forwarded: Semaphore,
}

/// Room for a request, until dropped.
pub(crate) struct Room<'l>(#[expect(dead_code, reason = "held for their drop")] [Option<SemaphorePermit<'l>>; 2]);

impl Default for Load {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_THE_DATABASE + WAITING),
            database: Semaphore::new(AT_THE_DATABASE),
            forwarded: Semaphore::new(FORWARDED),
        }
    }
}

impl Load {
    /// Makes room for a request to an endpoint, or refuses it.
    pub(crate) async fn enter(&self, lane: Lane, is_crowded: bool) -> Result<Room<'_>, ApiError> {
        match lane {
            Lane::Vital => Ok(Room([None, None])),
            _ if is_crowded => Err(overloaded()),
            Lane::Memory => Ok(Room([None, None])),
            Lane::Database => {
                let place = self.places.try_acquire().map_err(|_| overloaded())?;
                // What waits is kept apart: it would make every request larger, also those that never do.
                let database = Box::pin(timeout(PATIENCE, self.database.acquire())).await.ok().and_then(Result::ok);
                Ok(Room([Some(place), Some(database.ok_or_else(overloaded)?)]))
            }
        }
    }

    /// Makes room for a request to a service behind a door, or refuses it.
    pub(crate) fn forward(&self, is_crowded: bool) -> Result<Room<'_>, ApiError> {
        let room = self.forwarded.try_acquire().ok().filter(|_| !is_crowded);
        Ok(Room([Some(room.ok_or_else(overloaded)?), None]))
    }
}

/// What whoever finds no room is told; it is counted.
pub(crate) fn overloaded() -> ApiError {
    metrics::counter!("keyrack_shed_total").increment(1);
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", keyrack_engine::Error::Overloaded.to_string())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use tokio::task::unconstrained;

    use super::*;

    /// What somebody is told who asks for room: `Pending` while they wait for it, and the room or `None`, a refusal.
    fn told<'l>(entering: &mut Pin<Box<impl Future<Output = Result<Room<'l>, ApiError>>>>) -> Poll<Option<Room<'l>>> {
        entering.as_mut().poll(&mut Context::from_waker(Waker::noop())).map(Result::ok)
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_may_wait_do_so_for_their_patience_and_whoever_comes_then_is_refused_at_once() {
        let load = Load::default();
        // The runtime lets a task do only so much before it has to wait (its cooperative budget).
        let enter = || Box::pin(unconstrained(load.enter(Lane::Database, false)));
        let mut at_work: Vec<_> = (0..AT_THE_DATABASE).map(|_| told(&mut enter())).collect();
        assert!(at_work.iter().all(|told| matches!(told, Poll::Ready(Some(_)))));
        let mut waiting: Vec<_> = (0..WAITING).map(|_| enter()).collect();
        assert!(waiting.iter_mut().all(|entering| told(entering).is_pending()));
        assert!(matches!(told(&mut enter()), Poll::Ready(None)), "there is no place left to wait");

        tokio::time::advance(PATIENCE / 2).await;
        drop(at_work.pop());
        let next = told(&mut waiting[0]);
        assert!(matches!(next, Poll::Ready(Some(_))), "who came first is next");
        let mut late = enter();
        assert!(told(&mut late).is_pending(), "a place came free");
        tokio::time::advance(PATIENCE / 2 + Duration::from_millis(1)).await;
        assert!(waiting[1..].iter_mut().all(|entering| matches!(told(entering), Poll::Ready(None))));
        assert!(told(&mut late).is_pending(), "who came later waits longer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_vital_or_in_memory_waits_for_nobody_and_a_crowd_leaves_room_only_for_what_is_vital() {
        let load = Load::default();
        let enter = |lane, is_crowded| told(&mut Box::pin(load.enter(lane, is_crowded)));
        let at_work: Vec<_> = (0..AT_THE_DATABASE).map(|_| enter(Lane::Database, false)).collect();
        assert!(at_work.iter().all(|told| matches!(told, Poll::Ready(Some(_)))));
        assert!(enter(Lane::Database, false).is_pending(), "the database has no room");
        for (lane, is_crowded, enters) in [
            (Lane::Vital, false, true),
            (Lane::Vital, true, true),
            (Lane::Memory, false, true),
            (Lane::Memory, true, false),
            (Lane::Database, true, false),
        ] {
            let Poll::Ready(room) = enter(lane, is_crowded) else { panic!("{lane:?} waits") };
            assert_eq!(room.is_some(), enters, "{lane:?}, crowded: {is_crowded}");
        }
    }
}
