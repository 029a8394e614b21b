//! The engine: the database, what is held of it in memory, and the loop that keeps the two together.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use keyrack_core::token::MasterKey;
use keyrack_core::{Authority, EventId, KeyId, NodeId, OrganizationId, OrganizationState, Pepper};
use keyrack_store::{ActorKind, FeedHead, INSTANCE, NewEvent, Reader, Store, StoreError, SubjectKind, Writer};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use crate::actor::{Actor, Context, authority_of};
use crate::calendar::Calendar;
use crate::clock::{Clock, Random};
use crate::directory::{Directory, Tenant};
use crate::keyring::{Keyring, Loader};
use crate::lease::Lease;
use crate::letters::Letters;
use crate::limits::Windows;
use crate::master_keys::MasterKeys;
use crate::passwords::SlowPool;
use crate::peppers::Peppers;
use crate::quota::Quotas;
use crate::routes::{RouteLogs, RouteTable};
use crate::sealing::DataKeys;
use crate::secrets::Secrets;
use crate::settle::Receipt;
use crate::tiers::{self, Tiers};
use crate::tokens::Tokens;
use crate::usage::Usage;
use crate::{Error, Result, feed};

/// Keyrack without HTTP.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calendar: Calendar,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) peppers: Peppers,
    pub(crate) directory: Directory,
    pub(crate) keyring: Keyring,
    pub(crate) routes: RouteTable,
    pub(crate) route_logs: RouteLogs,
    pub(crate) usage: Arc<Usage>,
    pub(crate) tiers: ArcSwap<Tiers>,
    pub(crate) quotas: Quotas,
    pub(crate) windows: Windows,
    pub(crate) master_keys: MasterKeys,
    /// After how many days another master key is put into use; `None` for never by itself.
    pub(crate) master_key_days: Option<u32>,
    pub(crate) tokens: Tokens,
    pub(crate) data_keys: DataKeys,
    pub(crate) secrets: Secrets,
    /// For tasks that go on without whoever began them.
    pub(crate) myself: OnceLock<Weak<Self>>,
    /// For keys and for passwords apart, so that who guesses passwords keeps no key waiting.
    pub(crate) slow: SlowPool,
    pub(crate) passwords: SlowPool,
    pub(crate) feed: AsyncMutex<FeedHead>,
    applied: AtomicI64,
    /// When it was last known that decisions know every change, by the machine's uptime.
    up_to_date: AtomicI64,
    /// Who this process is among those that serve the same database.
    pub(crate) node: NodeId,
    /// Until when what is in memory may be decided by.
    pub(crate) lease: Lease,
    /// False while what is in memory is of another life of the database.
    is_loaded: AtomicBool,
    pub(crate) role: Role,
    pub(crate) letters: Letters,
    in_flight: Mutex<HashSet<(OrganizationId, Uuid, String)>>,
}

/// What a process does with the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It serves: holds all keys in memory, and a seat at the database.
    Server,
    /// It makes a change or has a look, perhaps beside a server: the command line.
    Guest {
        /// Whether it needs the keys, to verify.
        keys: bool,
    },
}

/// What an engine is made of.
pub struct Parts {
    /// The database, opened.
    pub store: Store,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub random: Arc<dyn Random>,
    /// The peppers; on a new database the first is put into use.
    pub peppers: Vec<Pepper>,
    /// The master keys.
    pub master_keys: Vec<MasterKey>,
    /// The key file they are from, if they are to be changed there.
    pub keyfile: Option<PathBuf>,
    /// After how many days a process that serves puts another master key into use; `None` for never.
    pub master_key_days: Option<u32>,
}

impl Engine {
    /// Starts on a database: gives a new one its epoch, checks that the pepper is the one it was made with, and loads what
    /// decisions need.
    pub async fn start(parts: Parts, role: Role) -> Result<Arc<Self>> {
        let Parts { store, clock, random, peppers, master_keys, keyfile, master_key_days } = parts;
        let latest = store.read().await?.latest_time().await?;
        let calendar = Calendar::new(Arc::clone(&clock), latest);
        let head = feed::begin(&store, &calendar, random.as_ref(), (&peppers, &master_keys)).await?;
        let node = NodeId::new(calendar.now(), random.bytes()?);
        let engine = Self {
            store,
            clock,
            calendar,
            random,
            peppers: Peppers::new(peppers),
            directory: Directory::default(),
            keyring: Keyring::default(),
            routes: RouteTable::default(),
            route_logs: RouteLogs::default(),
            usage: Arc::default(),
            tiers: ArcSwap::default(),
            quotas: Quotas::default(),
            windows: Windows::default(),
            master_keys: MasterKeys::new(keyfile, master_keys),
            master_key_days,
            tokens: Tokens::default(),
            data_keys: DataKeys::default(),
            secrets: Secrets::default(),
            myself: OnceLock::new(),
            slow: SlowPool::for_keys(),
            passwords: SlowPool::for_passwords(),
            feed: AsyncMutex::new(head),
            applied: AtomicI64::new(head.seq),
            up_to_date: AtomicI64::new(0),
            node,
            lease: Lease::forever(),
            is_loaded: AtomicBool::new(false),
            role,
            letters: Letters::default(),
            in_flight: Mutex::default(),
        };
        {
            let mut feed = engine.feed.lock().await;
            engine.reload(&mut feed).await?;
        }
        let engine = Arc::new(engine);
        let _ = engine.myself.set(Arc::downgrade(&engine));
        Ok(engine)
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.calendar.now()
    }

    /// What the machine's clock shows, and whether it is believed.
    pub fn clock(&self) -> (Timestamp, bool) {
        (self.calendar.wall(), self.calendar.look())
    }

    /// Takes the word of the host for it that the clock is right, however far it has jumped: for this process and for those
    /// that serve, as far as their clocks agree. Returns what the clock shows.
    pub async fn accept_clock(&self) -> Result<Timestamp> {
        let wall = self.calendar.wall();
        self.calendar.accept(wall);
        let writer = self.store.write(&[INSTANCE]).await?;
        let event = instance_event(feed::CLOCK_ACCEPTED, wall, self.random.bytes()?);
        self.commit(writer, event).await?;
        Ok(wall)
    }

    /// 80 random bits, for ids.
    pub fn random_bits(&self) -> Result<[u8; 10]> {
        self.random_id()
    }

    /// 128 random bits, for what nobody may guess.
    pub fn random_128(&self) -> Result<[u8; 16]> {
        Ok(self.random.bytes()?)
    }

    /// A person by id.
    pub async fn find_user(&self, id: keyrack_core::UserId) -> Result<Option<keyrack_store::UserAccount>> {
        Ok(self.reader().await?.find_user(id).await?)
    }

    /// Organizations, groups and workspaces.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How many secrets are held in memory.
    pub fn keyring_size(&self) -> usize {
        self.keyring.len()
    }

    /// Whether decisions may be made now: false without a lease, while everything is read anew, and under a clock that is not
    /// believed.
    pub fn is_serving(&self) -> bool {
        self.is_loaded() && self.calendar.is_believed() && self.lease.is_live(|| self.clock.reading())
    }

    /// The number of the newest change that decisions know.
    pub fn applied(&self) -> i64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Gives back what it holds of limits and quotas, waits for running statements and closes the database.
    pub async fn close(&self) {
        self.settle_quotas(true).await;
        self.settle_windows(true).await;
        self.store.close().await;
    }

    /// The organization of a key.
    pub async fn organization_of_key(&self, key: KeyId) -> Result<Option<OrganizationId>> {
        Ok(self.reader().await?.find_key_anywhere(key).await?.map(|key| key.organization))
    }

    /// Whether memory is of one life of the database.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// Reads everything anew.
    pub(crate) async fn reload(&self, feed: &mut FeedHead) -> Result<()> {
        self.is_loaded.store(false, Ordering::Release);
        self.quotas.drop_all(&self.directory);
        self.windows.drop_all();
        let mut reader = self.store.read().await?;
        let head = reader.feed_head().await?.ok_or(Error::internal("the log has no head"))?;
        if let Some(latest) = reader.latest_time().await? {
            self.calendar.raise(latest);
        }
        tiers::load_tiers(self, &mut reader).await?;
        self.load_master_keys(&mut reader).await?;
        self.load_peppers(&mut reader).await?;
        feed::load_tenants(self, &mut reader).await?;
        feed::load_routes(self, &mut reader).await?;
        if self.role != (Role::Guest { keys: false }) {
            let mut loader = Loader::for_about(reader.about_how_many_secrets().await?);
            loader.counting_on(&self.keyring);
            let mut imported = false;
            let mut last = None;
            let take = |row: keyrack_store::VerificationRow| {
                imported |= row.is_imported();
                if last.as_ref().is_none_or(|(organization, _)| *organization != row.organization) {
                    last = self.directory.find(row.organization).map(|tenant| (row.organization, tenant));
                }
                let added = last.as_ref().map(|(_, tenant)| loader.add(&row, tenant));
                if !matches!(added, Some(Ok(()))) {
                    tracing::error!(key = %row.key, "a key cannot be read from the database and lets nobody in");
                }
            };
            Box::pin(self.store.for_each_verification(&mut reader, take)).await?;
            if imported {
                self.directory.expect_imported();
            }
            self.keyring.replace(loader);
            self.secrets.load(&mut reader).await?;
        }
        *feed = head;
        self.applied.store(head.seq, Ordering::Release);
        self.note_up_to_date();
        self.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Reads which master key is in use, and what is opened with master keys.
    pub(crate) async fn load_master_keys(&self, reader: &mut Reader) -> Result<()> {
        self.master_keys.load(reader).await?;
        let known = self.master_keys.known();
        self.tokens.load(reader, &known).await?;
        self.data_keys.load(reader, &known).await
    }

    /// Applies what has been committed since it was last looked; returns the number of the newest change applied.
    pub(crate) async fn catch_up(&self) -> Result<i64> {
        let mut feed = self.feed.lock().await;
        let mut reader = self.store.read_apart().await?;
        let head = reader.feed_head().await?.ok_or(Error::internal("the log has no head"))?;
        if head.epoch != feed.epoch || head.seq < feed.seq || !self.is_loaded() {
            // Another database has been put in the place of ours: nothing we hold is worth anything, and no lease of the
            // other one is.
            self.lease.suspend();
            drop(reader);
            self.reload(&mut feed).await?;
            return Ok(feed.seq);
        }
        while feed.seq < head.seq {
            let events = reader.events_after(feed.seq, 1000).await?;
            let mut left = events.as_slice();
            // Step by step: whoever has no time to wait for all of it has not waited for nothing.
            while let (step @ [.., last], rest) = feed::step(left) {
                feed::apply(self, &mut reader, step).await?;
                feed.seq = last.seq;
                self.applied.store(feed.seq, Ordering::Release);
                left = rest;
            }
            if events.is_empty() {
                break;
            }
        }
        self.note_up_to_date();
        Ok(feed.seq)
    }

    /// Decisions know every change there is.
    pub(crate) fn note_up_to_date(&self) {
        self.up_to_date.store(self.clock.uptime(), Ordering::Relaxed);
    }

    /// How long ago that was last known.
    pub(crate) fn feed_age(&self) -> Duration {
        let age = self.clock.uptime().saturating_sub(self.up_to_date.load(Ordering::Relaxed));
        Duration::from_micros(u64::try_from(age).unwrap_or(0))
    }

    /// A fresh id.
    pub(crate) fn random_id(&self) -> Result<[u8; 10]> {
        Ok(self.random.bytes()?)
    }

    /// The organization of a context, whatever its state.
    pub(crate) fn tenant(&self, ctx: &Context) -> Result<Arc<Tenant>> {
        self.directory.tenant(ctx.organization).ok_or(Error::NotFound("organization"))
    }

    /// An organization whose keys and members may do something.
    fn active_tenant(&self, id: OrganizationId) -> Option<Arc<Tenant>> {
        self.directory.tenant(id).filter(|tenant| tenant.organization.state == OrganizationState::Active)
    }

    /// A snapshot to read from.
    pub(crate) async fn reader(&self) -> Result<Reader> {
        Ok(self.store.read().await?)
    }

    /// Begins a change. Whoever makes it is looked at again inside the transaction: a key that was revoked meanwhile, or a
    /// member who lost the role, changes nothing any more.
    pub(crate) async fn begin(&self, ctx: &Context) -> Result<(Writer, Authority)> {
        self.begin_beside(ctx, None).await
    }

    /// Like [`Engine::begin`], for a change that also concerns something beside the organization.
    pub(crate) async fn begin_beside(
        &self,
        ctx: &Context,
        beside: Option<OrganizationId>,
    ) -> Result<(Writer, Authority)> {
        let home = match &ctx.actor {
            Actor::Key { organization, .. } => *organization,
            _ => ctx.organization,
        };
        let mut writer = self.store.write(&[home, ctx.organization, beside.unwrap_or(home)]).await?;
        let authority = self.authority(&mut writer, ctx).await?;
        if ctx.required.as_ref().is_some_and(|scope| !authority.scopes.grants(scope)) {
            return Err(Error::forbidden("insufficient_scope", "the credential has lost the scope this needs"));
        }
        Ok((writer, authority))
    }

    async fn authority(&self, reader: &mut Reader, ctx: &Context) -> Result<Authority> {
        match &ctx.actor {
            Actor::Host { .. } => Ok(Authority::of_host(ctx.organization)),
            Actor::Key { id, is_instance_admin, organization, .. } => {
                let key = reader.find_key_anywhere(*id).await?.ok_or(Error::Unauthorized)?;
                if key.status(self.now()) != keyrack_core::KeyStatus::Active {
                    return Err(Error::Unauthorized);
                }
                let tenant = self.active_tenant(*organization).ok_or(Error::Unauthorized)?;
                let authority = authority_of(&key, tenant.is_access_group(key.group));
                if ctx.organization == *organization {
                    return Ok(authority);
                }
                // Only an instance admin's key reaches into other organizations, with its own scopes.
                let instance = authority.scopes.grants(&crate::instance_scope());
                let of_host = Authority::of_host(ctx.organization);
                if *is_instance_admin && instance { Ok(of_host) } else { Err(Error::NotFound("organization")) }
            }
            Actor::User { id, session, is_instance_admin, .. } => {
                let session = reader.find_session_by_id(*session).await?;
                let session = session.filter(|session| self.is_live(session)).ok_or(Error::Unauthorized)?;
                if self.unmet(reader, ctx.organization, &session).await?.is_some() {
                    return Err(Error::Unauthorized);
                }
                let member = reader.find_member(ctx.organization, *id).await?;
                let user = reader.find_user(*id).await?.ok_or(Error::Unauthorized)?;
                match member {
                    _ if *is_instance_admin && user.is_instance_admin => Ok(Authority::of_host(ctx.organization)),
                    Some(_) if self.active_tenant(ctx.organization).is_none() => Err(Error::Unauthorized),
                    Some(member) => Ok(Authority::of_person(ctx.organization, member.role)),
                    None => Err(Error::NotFound("organization")),
                }
            }
        }
    }

    /// An event in the name of the context's actor.
    pub(crate) fn event(&self, ctx: &Context, kind: &'static str, subject: Subject<'_>) -> Result<NewEvent> {
        let now = self.now();
        Ok(NewEvent {
            id: EventId::new(now, self.random_id()?),
            at: now,
            organization: Some(ctx.organization),
            kind,
            actor_kind: ctx.actor.kind(),
            actor_id: ctx.actor.id(),
            actor_name: ctx.actor.name().to_owned(),
            subject_kind: subject.kind,
            subject_id: Some(subject.id),
            subject_name: subject.name.to_owned(),
            data: subject.data,
            request_id: ctx.request_id.map(|id| id.to_string()),
        })
    }

    /// Commits a change with its event and waits until decisions know it.
    pub(crate) async fn commit(&self, writer: Writer, event: NewEvent) -> Result<Receipt> {
        self.commit_all(writer, event, Vec::new()).await
    }

    /// Commits a change with several events and waits until decisions know it.
    pub(crate) async fn commit_all(&self, writer: Writer, event: NewEvent, more: Vec<NewEvent>) -> Result<Receipt> {
        self.calendar.check()?;
        let sequence = writer.commit(event, more).await?;
        self.settle(sequence).await
    }

    /// Marks an idempotency key as being worked on; refused if it is already.
    pub(crate) fn enter(&self, ctx: &Context) -> Result<Option<InFlight<'_>>> {
        let (Some(idempotency), Some(actor)) = (&ctx.idempotency, ctx.actor.id()) else { return Ok(None) };
        let mark = (ctx.organization, actor, idempotency.key.clone());
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if !in_flight.insert(mark.clone()) {
            return Err(StoreError::Conflict(keyrack_store::Conflict::Idempotency).into());
        }
        Ok(Some(InFlight { engine: self, mark }))
    }
}

/// An idempotency key that is being worked on, until dropped.
pub(crate) struct InFlight<'e> {
    engine: &'e Engine,
    mark: (OrganizationId, Uuid, String),
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.engine.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.mark);
    }
}

/// What an event is about.
#[derive(Clone)]
pub(crate) struct Subject<'s> {
    pub(crate) kind: SubjectKind,
    pub(crate) id: Uuid,
    pub(crate) name: &'s str,
    pub(crate) data: serde_json::Value,
}

impl<'s> Subject<'s> {
    pub(crate) fn key(id: KeyId, name: &'s str, data: serde_json::Value) -> Self {
        Self { kind: SubjectKind::Key, id: id.0, name, data }
    }
}

/// An event of the instance itself, made by Keyrack.
pub(crate) fn instance_event(kind: &'static str, now: Timestamp, random: [u8; 10]) -> NewEvent {
    NewEvent {
        id: EventId::new(now, random),
        at: now,
        organization: None,
        kind,
        actor_kind: ActorKind::System,
        actor_id: None,
        actor_name: "host".to_owned(),
        subject_kind: SubjectKind::Instance,
        subject_id: None,
        subject_name: "instance".to_owned(),
        data: serde_json::json!({}),
        request_id: None,
    }
}
