//! Connections over which nothing was asked yet. When room gets scarce, the one goes that has been silent for longest: who opens
//! thousands and says nothing, or half of something, takes the room of nobody else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Those that are open, in the order in which they came. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Unheard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    all: Mutex<VecDeque<Weak<Notify>>>,
    count: AtomicUsize,
}

/// A connection that is one of them until this is dropped.
pub(crate) struct Silent(Arc<Notify>, Unheard);

impl Drop for Silent {
    fn drop(&mut self) {
        self.1.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Unheard {
    /// One more has come.
    pub(crate) fn enter(&self) -> Silent {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        let silent = Silent(Arc::default(), self.clone());
        let mut all = self.all();
        // Those that came first and have been heard meanwhile need not be remembered.
        while all.front().is_some_and(|first| first.strong_count() == 0) {
            all.pop_front();
        }
        all.push_back(Arc::downgrade(&silent.0));
        silent
    }

    /// Sends the one away that has been silent for longest, if there are more than so many. Fewer take nobody's room: they are those
    /// that have just come, and are about to speak.
    pub(crate) fn send_one_away(&self, but: usize) {
        if self.0.count.load(Ordering::Relaxed) <= but {
            return;
        }
        let mut all = self.all();
        while let Some(first) = all.pop_front() {
            if let Some(silent) = first.upgrade() {
                silent.notify_one();
                return;
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Weak<Notify>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silent {
    /// Waits until it is sent away.
    pub(crate) async fn is_sent_away(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_one_that_is_silent_for_longest_goes() {
        let unheard = Unheard::default();
        unheard.send_one_away(0);
        let [first, second, third] = [(); 3].map(|()| unheard.enter());
        drop(first);
        unheard.send_one_away(2);
        assert!(second.is_sent_away().now_or_never().is_none(), "they are only two");
        unheard.send_one_away(1);
        assert!(second.is_sent_away().now_or_never().is_some());
        assert!(third.is_sent_away().now_or_never().is_none());
        unheard.send_one_away(1);
        assert!(third.is_sent_away().now_or_never().is_some());
    }

    #[test]
    fn those_that_were_heard_are_forgotten() {
        let unheard = Unheard::default();
        for _ in 0..1000 {
            drop(unheard.enter());
        }
        assert_eq!(unheard.all().len(), 1);
    }
}
