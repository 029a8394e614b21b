//! What a serving process does beside answering: keeps its seat at the database, follows the log, writes uses down.
//!
//! On SQLite the seat is a claim: one process serves, and knows of every change because it looks for those that the command
//! line makes beside it. On PostgreSQL several serve. Each decides under a lease that runs for a second from before its
//! renewal was sent, and only once it has applied what the answer says there is; whoever changes something waits until
//! all have applied it, or until no lease from before the change can still run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::NodeId;
use keyrack_store::{Claim, FeedHead, Membership, Node};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::{Error, Result, master_keys, peppers};

/// How often the log of a SQLite file is looked at for changes made by another process.
const POLL: Duration = Duration::from_millis(50);
/// How often a lease is renewed when nothing happens: several may fail before it runs out.
const RENEW: Duration = Duration::from_millis(200);
/// How often a node that is still loading says that it is there.
const LOADING: Duration = Duration::from_secs(5);
/// How often nodes that have long been silent are looked for.
const SWEEP: Duration = Duration::from_secs(3);
/// How long a node has to be silent until the others wait for it no more. It then has to read everything anew, so this is much
/// longer than a lease runs.
const SILENT: Duration = Duration::from_secs(15);
/// How long nothing may be heard before the line is made anew.
const QUIET: Duration = Duration::from_secs(30);
/// How long to wait before listening again.
const DEAF: Duration = Duration::from_secs(1);
/// How often the time is.
const NOTE_TIME: Duration = Duration::from_mins(1);

/// The place of a serving process at its database, kept until it has stopped.
pub enum Seat {
    /// The only one, of a SQLite file.
    Claim(Claim),
    /// One of several, of a PostgreSQL database.
    Member(Box<Membership>),
}

impl Engine {
    /// Takes a seat at the database, under the name of this machine. What was committed between loading and now is applied.
    pub async fn take_seat(&self, name: &str) -> Result<Seat> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let Some(mut member) = self.store.membership(self.node, name.to_owned(), version) else {
            let claim = self.store.claim().await?;
            self.catch_up().await?;
            return Ok(Seat::Claim(claim));
        };
        self.lease.end();
        member.join(self.applied(), &self.key_file_signs()).await?;
        if let Err(error) = self.renew(&mut member).await {
            // Nobody is to wait for a node that never was.
            drop(member.leave().await);
            return Err(error);
        }
        Ok(Seat::Member(Box::new(member)))
    }

    /// Serves until `stop`, then gives the seat up.
    pub async fn run(self: Arc<Self>, mut seat: Seat, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep(&mut seat) => {}
            () = self.keep_usage() => {}
            () = self.keep_route_logs() => {}
            () = self.keep_route_metrics() => {}
            () = self.tend_usage() => {}
            () = self.keep_quotas() => {}
            () = self.keep_windows() => {}
            () = self.keep_time() => {}
            () = self.keep_telling() => {}
            () = self.keep_master_key() => {}
            () = self.keep_peppers() => {}
        }
        self.flush_route_logs().await;
        self.flush_route_metrics().await;
        self.end_usage().await;
        self.settle_quotas(true).await;
        self.settle_windows(true).await;
        if let Seat::Member(member) = seat {
            // From here on nobody waits for this process, so it decides nothing any more.
            self.lease.end();
            if let Err(error) = member.leave().await {
                tracing::warn!(%error, "the other nodes will wait for this one until its lease has run out");
            }
        }
    }

    async fn keep(&self, seat: &mut Seat) {
        match seat {
            Seat::Claim(claim) => self.follow(claim).await,
            Seat::Member(member) => {
                let woken = Notify::new();
                tokio::select! {
                    () = self.keep_lease(member, &woken) => {}
                    () = self.listen(&woken) => {}
                }
            }
        }
    }

    /// Follows the log, and says how far.
    async fn follow(&self, claim: &Claim) {
        let (mut poll, mut published) = (every(POLL), 0);
        loop {
            poll.tick().await;
            self.calendar.look();
            match self.catch_up().await {
                Ok(seq) if seq != published && claim.publish(seq).is_ok() => published = seq,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "cannot follow the log of changes"),
            }
        }
    }

    /// Renews the lease, over and over: at a call, after a while, and at once when there is something to tell.
    async fn keep_lease(&self, member: &mut Membership, woken: &Notify) {
        let mut sweep = Sweep::default();
        loop {
            self.calendar.look();
            let told = self.applied();
            let was_serving = self.is_serving();
            match self.renew(member).await {
                Ok(()) if !was_serving && self.is_serving() => tracing::info!("this node holds a lease"),
                Ok(()) => {}
                // Once it has run out, there is nothing new to say several times a second.
                Err(error) if !was_serving => tracing::debug!(%error, "there is still no lease"),
                Err(error) => {
                    tracing::warn!(%error, "the lease cannot be renewed; without one every answer is 503");
                }
            }
            if sweep.is_due() {
                drop(self.forget_the_silent(member, &mut sweep).await);
            }
            if self.applied() == told {
                tokio::select! {
                    () = woken.notified() => {}
                    () = tokio::time::sleep(RENEW) => {}
                }
            }
        }
    }

    /// Takes away the rows of nodes that have been silent for long.
    async fn forget_the_silent(&self, member: &mut Membership, sweep: &mut Sweep) -> Result<()> {
        let nodes = self.store.read_apart().await?.list_nodes().await?;
        for node in sweep.silent(Instant::now(), nodes.into_iter().filter(|node| node.id != self.node)) {
            tracing::warn!(node = %node.id.0, name = node.name, "a node has been silent for long and is not waited for");
            member.forget(&node).await?;
        }
        Ok(())
    }

    /// Asks how far the log goes, applies that much, and may then decide until a second after it asked.
    async fn renew(&self, member: &mut Membership) -> Result<()> {
        let sent = self.clock.reading();
        let told = self.applied();
        let Some(head) = member.renew(told, &self.key_file_signs()).await? else {
            return self.rejoin(member).await;
        };
        let is_applied = |feed: &FeedHead| feed.epoch == head.epoch && feed.seq >= head.seq;
        if head.seq < told {
            // This is another log, or it has lost its end. What the others heard from us is not true of it, so nothing is
            // decided before they have heard something else.
            self.lease.suspend();
            self.catch_up().await?;
            return Err(Error::Unavailable("the log of changes has been replaced", None));
        }
        if !is_applied(&*self.feed.lock().await) {
            self.catch_up().await?;
        }
        if !is_applied(&*self.feed.lock().await) || !self.is_loaded() {
            return Err(Error::Unavailable("the log of changes has been replaced", None));
        }
        self.note_up_to_date();
        if !self.is_serving() {
            self.windows.close_all();
        }
        self.lease.grant(sent);
        Ok(())
    }

    /// The others have stopped waiting for this process, so nothing it holds in memory is worth anything.
    async fn rejoin(&self, member: &mut Membership) -> Result<()> {
        self.lease.end();
        tracing::warn!("this node was silent for so long that the others dropped it; it joins again");
        member.join(0, &self.key_file_signs()).await?;
        let mut feed = self.feed.lock().await;
        let reload = self.reload(&mut feed);
        tokio::pin!(reload);
        loop {
            tokio::select! {
                reloaded = &mut reload => return reloaded,
                // It says only that we are still there: that it fails is no reason to begin again.
                () = tokio::time::sleep(LOADING) => drop(member.renew(0, &self.key_file_signs()).await),
            }
        }
    }

    /// By what the others know what this process's key file has.
    fn key_file_signs(&self) -> Vec<String> {
        let master_keys = self.master_keys.known();
        let peppers = self.peppers.known();
        master_keys.iter().map(master_keys::sign_of).chain(peppers.iter().map(peppers::sign_of)).collect()
    }

    /// Passes on that something has been committed.
    async fn listen(&self, woken: &Notify) {
        loop {
            match self.store.calls().await {
                Ok(None) => return std::future::pending().await,
                Ok(Some(mut calls)) => {
                    // A line that was cut says nothing, ever; so does one on which nothing happens.
                    while tokio::time::timeout(QUIET, calls.next()).await.is_ok_and(|called| called.is_ok()) {
                        woken.notify_one();
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot listen for commits; they are seen a little later"),
            }
            tokio::time::sleep(DEAF).await;
        }
    }

    async fn keep_time(&self) {
        loop {
            tokio::time::sleep(NOTE_TIME).await;
            self.note_time().await;
        }
    }

    /// Writes down what time it is, so that it is known after the next start although nothing else may have happened, and
    /// learns what the clocks of others have shown.
    async fn note_time(&self) {
        if !self.calendar.look() {
            return;
        }
        let noted = async { self.store.write(&[]).await?.commit_time(self.now()).await };
        match noted.await {
            Ok(latest) => self.calendar.raise(latest),
            Err(error) => tracing::warn!(%error, "the time could not be written down"),
        }
    }
}

/// Looks for nodes that are silent, by this process's own clock: that of the database may be set.
struct Sweep {
    last: Instant,
    /// Who renewed last when, and since when no later renewal was seen.
    seen: HashMap<NodeId, (Timestamp, Instant)>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { last: Instant::now(), seen: HashMap::new() }
    }
}

impl Sweep {
    fn is_due(&self) -> bool {
        self.last.elapsed() >= SWEEP
    }

    /// Those of all other nodes that have been silent for long, as they are now.
    fn silent(&mut self, now: Instant, nodes: impl Iterator<Item = Node>) -> Vec<Node> {
        // Who has not looked for a while has seen nothing of what others did meanwhile.
        let was_looking = now - self.last < 2 * SWEEP;
        self.last = now;
        let before = std::mem::take(&mut self.seen);
        let mut silent = Vec::new();
        for node in nodes {
            let same = before.get(&node.id).filter(|(renewed, _)| was_looking && *renewed == node.seen_at);
            let since = same.map_or(now, |(_, since)| *since);
            self.seen.insert(node.id, (node.seen_at, since));
            if now - since >= SILENT {
                silent.push(node);
            }
        }
        silent
    }
}

/// Ticks so often, and never twice to catch up.
pub(crate) fn every(period: Duration) -> tokio::time::Interval {
    let mut timer = tokio::time::interval(period);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer
}

#[cfg(test)]
mod tests {
    use keyrack_core::from_micros;
    use uuid::Uuid;

    use super::*;

    fn node(id: u128, renewed: i64) -> Node {
        Node {
            id: NodeId(Uuid::from_u128(id)),
            name: String::new(),
            version: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            seen_at: from_micros(renewed),
            silent_for: Duration::ZERO,
            applied: 0,
            key_file: Vec::new(),
        }
    }

    /// Which are silent, looked at so many seconds after the first look, when each has last renewed then.
    fn silent(looks: &[(u64, [i64; 2])]) -> Vec<usize> {
        let (mut sweep, start) = (Sweep::default(), Instant::now());
        let look = |&(seconds, [one, two]): &(u64, [i64; 2])| {
            let now = start + Duration::from_secs(seconds);
            sweep.silent(now, [node(1, one), node(2, two)].into_iter()).len()
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn who_has_not_renewed_for_long_is_silent() {
        let looks = [(0, [7, 1]), (3, [7, 2]), (6, [7, 2]), (9, [7, 4]), (12, [7, 1]), (15, [7, 6]), (18, [8, 7])];
        assert_eq!(silent(&looks), [0, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn what_was_not_looked_at_was_not_seen_to_be_silent() {
        assert_eq!(silent(&[(0, [7, 1]), (3, [7, 1]), (20, [7, 1]), (23, [7, 1]), (26, [7, 1])]), [0; 5]);
    }
}
