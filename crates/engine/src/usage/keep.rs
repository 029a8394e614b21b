//! Writing counts down.
//!
//! What was noted is written down at least each second. As long as that is not much, straight into the counts of minutes; else
//! into a journal, and into the counts of minutes once in a while: a key that is used all the time is then written once a
//! minute and not each second. Whatever process has ended is added up from its journal by another.

use std::sync::Arc;
use std::time::Duration;

use keyrack_core::{KeyId, NodeId};
use keyrack_store::UsagePlace;
use tokio::time::Instant;

use super::tally::{Known, Part, Sorted, Tally};
use super::{Seen, Usage};
use crate::engine::Engine;
use crate::serving::every;
use crate::{Error, Result};

/// How often counts are written down: often enough that a kill loses no more than a second of them, also where writing takes its
/// time.
const FLUSH: Duration = Duration::from_millis(300);
/// As many rows are written straight into the counts.
pub(super) const FEW: usize = 4 * 1024;
/// With so few new ones the rush is over, and what was left in the journal is added up.
const QUIET: usize = 1024;
/// So long they are left in the journal at most.
const LEFT_FOR: Duration = Duration::from_mins(1);
/// And so many rows at most, for they are in memory too: some 200 MB, and as much again while they are added up.
const MOST: usize = 1_000_000;
/// How many rows are written in one transaction: whoever changes something, or is answered by the same processor, waits for no
/// more than that. In a SQLite file it takes about a millisecond.
const ROWS_AT_ONCE: usize = 512;
/// How long to rest after so many, for the others.
const REST: Duration = Duration::from_millis(3);

/// What has been added up and not been written down.
#[derive(Default)]
pub(super) struct Kept {
    known: Known,
    /// Since the last flush.
    fresh: Tally,
    /// In the journal since this moment, in so many batches.
    open: Tally,
    opened: Option<Instant>,
    number: i64,
    /// Batches of which it is not known that they are in the journal.
    unwritten: Option<Journaled>,
    /// What is being written into the counts, and whether it is in the journal.
    closing: Option<Sorted>,
    is_journaled: bool,
    /// Where this process is; `None` as long as the database does not know of it.
    place: Option<UsagePlace>,
    /// How many requests were said to be lost.
    lost: u64,
}

/// What a flush has to write into the journal.
struct Journaled {
    generation: i64,
    /// The number of the first of the batches.
    first: i64,
    batches: Vec<Vec<u8>>,
}

impl Kept {
    /// Adds what was seen; false if there is no room, which is so only if nothing could be written down for very long.
    pub(super) fn add(&mut self, seen: Seen) -> bool {
        let has_room = self.fresh.len() < MOST;
        if has_room {
            self.fresh.add(seen, &mut self.known);
        }
        has_room
    }

    pub(super) fn has_use_of(&self, key: KeyId, version: i64) -> bool {
        let closing = self.closing.as_ref().is_some_and(|closing| closing.has_use_of(key, version));
        closing || self.open.has_use_of(key, version) || self.fresh.has_use_of(key, version)
    }

    /// How many rows are not in the counts yet.
    pub(super) fn rows(&self) -> usize {
        self.fresh.len() + self.open.len() + self.closing.as_ref().map_or(0, Sorted::len)
    }

    /// Whether more have been lost than was said.
    fn has_lost(&mut self, lost: u64) -> bool {
        std::mem::replace(&mut self.lost, lost) < lost
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.open.is_empty() && self.closing.is_none()
    }

    /// Decides where the newest go. What is to be in the journal is in `unwritten` then.
    fn turn(&mut self, is_last: bool) {
        let Some(place) = self.place.as_ref().filter(|_| self.unwritten.is_none()) else { return };
        // While one generation is being written down, the next is in the journal already.
        let generation = place.generation + i64::from(self.closing.is_some());
        let fresh = std::mem::take(&mut self.fresh);
        if self.closing.is_none() && self.opened.is_none() && fresh.len() <= FEW {
            self.open.absorb(fresh);
            self.close(false);
            return;
        }
        if !fresh.is_empty() {
            let batches = fresh.to_batches();
            let first = self.number;
            self.number += i64::try_from(batches.len()).unwrap_or(0);
            self.unwritten = Some(Journaled { generation, first, batches });
        }
        let is_quiet = fresh.len() <= QUIET;
        let is_long = self.opened.get_or_insert_with(Instant::now).elapsed() >= LEFT_FOR;
        self.open.absorb(fresh);
        if self.closing.is_none() && (is_quiet || is_long || is_last || self.open.len() >= MOST) {
            self.close(true);
        }
    }

    fn close(&mut self, is_journaled: bool) {
        (self.opened, self.number, self.is_journaled) = (None, 0, is_journaled);
        let open = std::mem::take(&mut self.open);
        self.closing = (!open.is_empty()).then(|| open.sorted());
    }

    /// What is written down next: from where, and up to where.
    fn next_part(&self) -> Option<(Part, UsagePlace, UsagePlace)> {
        let part = self.closing.as_ref()?.next(ROWS_AT_ONCE);
        let from = self.place.clone()?;
        let to = after(&from, &part.place);
        Some((part, from, to))
    }

    /// It has been.
    fn advance(&mut self, part: &Part, to: UsagePlace) {
        if let Some(closing) = &mut self.closing {
            closing.advance(part);
        }
        if part.is_last() {
            self.closing = None;
        }
        self.place = Some(to);
    }

    /// Somebody else has what was in the journal. What was not is written down under a new place.
    fn give_up(&mut self) {
        for batch in self.unwritten.take().iter().flat_map(|unwritten| &unwritten.batches) {
            self.fresh.absorb(Tally::of_batch(batch).unwrap_or_default());
        }
        if self.is_journaled {
            self.closing = None;
        }
        (self.open, self.opened, self.number, self.place) = (Tally::default(), None, 0, None);
    }
}

impl Engine {
    /// Writes counts down as long as the process serves. Meanwhile they are added up, however long the database takes.
    pub(crate) async fn keep_usage(&self) {
        let mut flush = every(FLUSH);
        let flushing = async {
            loop {
                flush.tick().await;
                self.flush_usage(Some(FLUSH)).await;
            }
        };
        let gathering = async {
            loop {
                self.usage.called.notified().await;
                self.gather_usage().await;
            }
        };
        tokio::select! {
            () = flushing => {}
            () = gathering => {}
        }
    }

    /// Writes down what was noted until now: all of it, or as much as can be done in a while. Stopped half-way, it has lost
    /// nothing. Under a clock that is not believed all of it is kept.
    pub(crate) async fn flush_usage(&self, within: Option<Duration>) {
        if !self.calendar.look() {
            return;
        }
        self.gather_usage().await;
        let lost = self.usage.lost();
        if self.usage.kept().has_lost(lost) {
            tracing::error!(lost, "requests came faster than they could be added up; so many are not counted");
        }
        match self.try_flush(within).await {
            Ok(()) => self.usage.note_flushed(),
            Err(error) => tracing::warn!(%error, "usage could not be written down and is kept"),
        }
    }

    /// Adds up what was noted, beside those who answer.
    async fn gather_usage(&self) {
        self.with_usage(Usage::gather).await;
    }

    pub(crate) async fn with_usage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Usage) -> T + Send + 'static,
    ) -> Option<T> {
        let usage = Arc::clone(&self.usage);
        tokio::task::spawn_blocking(move || work(&usage)).await.ok()
    }

    async fn try_flush(&self, within: Option<Duration>) -> Result<()> {
        let begun = Instant::now();
        if self.usage.kept().is_empty() {
            return Ok(());
        }
        self.join_usage().await?;
        self.write_journal().await?;
        self.with_usage(move |usage| usage.kept().turn(within.is_none())).await;
        self.write_journal().await?;
        loop {
            let Some((part, from, to)) = self.with_usage(|usage| usage.kept().next_part()).await.flatten() else {
                return Ok(());
            };
            if !self.store.write(&[]).await?.commit_usage(&from, &to, &part.step).await? {
                return self.give_up_usage();
            }
            self.usage.kept().advance(&part, to);
            match within {
                Some(within) if begun.elapsed() >= within => return Ok(()),
                Some(_) => tokio::time::sleep(REST).await,
                None => {}
            }
        }
    }

    /// Writes into the journal what is to be there. If that fails, it is written the next time, under the same numbers.
    async fn write_journal(&self) -> Result<()> {
        let Some(unwritten) = self.usage.kept().unwritten.take() else { return Ok(()) };
        let Journaled { generation, first, batches } = &unwritten;
        let written = async {
            let writer = self.store.write(&[]).await?;
            writer.commit_usage_journal(self.node, *generation, *first, batches).await
        };
        let written = written.await;
        if !matches!(written, Ok(true)) {
            self.usage.kept().unwritten = Some(unwritten);
        }
        if written? { Ok(()) } else { self.give_up_usage() }
    }

    /// Whether a secret was used and that stands in the journal of another process.
    pub(crate) async fn has_journaled_use(&self, key: KeyId, version: i64) -> Result<bool> {
        let mut reader = self.store.read().await?;
        for place in reader.usage_places().await?.into_iter().filter(|place| place.writer != self.node) {
            let mut at = (place.generation, -1);
            loop {
                let batches = reader.usage_journal(place.writer, at.0, at.1).await?;
                let Some(last) = batches.last() else { break };
                at = (last.generation, last.number);
                let has = move || {
                    let mut tallies = batches.iter().filter_map(|batch| Tally::of_batch(&batch.batch));
                    tallies.any(|tally| tally.has_use_of(key, version))
                };
                if tokio::task::spawn_blocking(has).await.unwrap_or(true) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Makes this process known as one that counts.
    async fn join_usage(&self) -> Result<()> {
        if self.usage.kept().place.is_some() {
            return Ok(());
        }
        let place = UsagePlace { writer: self.node, generation: 1, place: Vec::new() };
        // It may be there already, if nobody knows whether it was made.
        let known = self.store.read().await?.usage_places().await?;
        let known = known.into_iter().find(|place| place.writer == self.node);
        if known.is_none() {
            self.store.write(&[]).await?.commit_usage_writer(&place).await?;
        }
        self.usage.kept().place = Some(known.unwrap_or(place));
        Ok(())
    }

    fn give_up_usage(&self) -> Result<()> {
        self.usage.kept().give_up();
        Err(Error::Unavailable("another process has taken over what this one had counted", None))
    }

    /// Writes everything down, and is known as one that counts no more.
    pub(crate) async fn end_usage(&self) {
        // The second round is for what was in the journal while the first was written down.
        for _ in 0..3 {
            self.flush_usage(None).await;
        }
        let place = self.usage.kept().place.clone();
        let Some(place) = place.filter(|_| self.usage.kept().is_empty()) else { return };
        let ended = async { self.store.write(&[]).await?.commit_usage_end(&place).await };
        if let Err(error) = ended.await {
            tracing::debug!(%error, "the next process will see that there is nothing left to add up");
        }
    }

    /// Adds up what processes have counted that serve no more. Where several serve, one that is unknown is given a round to go
    /// on: it may be another who adds up for the dead. `seen` is where each was the last time.
    pub(crate) async fn adopt_usage(&self, seen: &mut Vec<UsagePlace>) -> Result<()> {
        let mut reader = self.store.read().await?;
        let serving: Vec<NodeId> = reader.list_nodes().await?.into_iter().map(|node| node.id).collect();
        let places = reader.usage_places().await?;
        drop(reader);
        let is_alone = self.store.sqlite_file().is_some();
        let seen = std::mem::replace(seen, places.clone());
        for place in places.into_iter().filter(|p| p.writer != self.node && !serving.contains(&p.writer)) {
            if !is_alone && !seen.contains(&place) {
                continue;
            }
            let heir = NodeId::new(self.now(), self.random_id()?);
            if self.store.write(&[]).await?.commit_usage_taken_over(place.writer, heir).await? {
                self.add_up_left(UsagePlace { writer: heir, ..place }).await?;
            }
        }
        Ok(())
    }

    /// Adds up what is left in a journal that nobody else writes to.
    async fn add_up_left(&self, mut place: UsagePlace) -> Result<()> {
        let mut at = (place.generation, -1);
        let mut tally = Tally::default();
        loop {
            let batches = self.store.read().await?.usage_journal(place.writer, at.0, at.1).await?;
            let Some(last) = batches.last() else { break };
            at = (last.generation, last.number);
            for of_one in batches.chunk_by(|one, next| one.generation == next.generation) {
                if of_one.first().is_some_and(|batch| batch.generation != place.generation) {
                    place = self.add_up(place, std::mem::take(&mut tally)).await?;
                }
                let batches: Vec<Vec<u8>> = of_one.iter().map(|batch| batch.batch.clone()).collect();
                tally = beside(move || absorbed(tally, &batches)).await?;
            }
        }
        let place = self.add_up(place, tally).await?;
        Ok(self.store.write(&[]).await?.commit_usage_end(&place).await?)
    }

    async fn add_up(&self, mut place: UsagePlace, tally: Tally) -> Result<UsagePlace> {
        let generation = place.generation;
        let done = place.place.clone();
        let mut sorted = beside(move || {
            let mut sorted = tally.sorted();
            sorted.skip(&done);
            sorted
        })
        .await?;
        while place.generation == generation {
            let part = sorted.next(ROWS_AT_ONCE);
            let to = after(&place, &part.place);
            if !self.store.write(&[]).await?.commit_usage(&place, &to, &part.step).await? {
                return Err(Error::Unavailable("another process adds up what was left", None));
            }
            sorted.advance(&part);
            place = to;
            tokio::time::sleep(REST).await;
        }
        Ok(place)
    }
}

/// Does something that takes long beside those who answer.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("what was left could not be added up"))
}

fn absorbed(mut tally: Tally, batches: &[Vec<u8>]) -> Tally {
    for batch in batches {
        if let Some(one) = Tally::of_batch(batch) {
            tally.absorb(one);
        } else {
            tracing::error!("a batch of counts cannot be read and is left out");
        }
    }
    tally
}

fn after(from: &UsagePlace, place: &[u8]) -> UsagePlace {
    if place.is_empty() {
        return from.next_generation();
    }
    UsagePlace { place: place.to_vec(), ..from.clone() }
}
