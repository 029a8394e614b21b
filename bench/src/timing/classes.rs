//! The kinds of keys that are refused alike.

use std::collections::HashSet;
use std::ops::Range;

use anyhow::Context as _;
use keyrack_bench::Numbers;
use keyrack_bench::instance::{self, Instance};
use keyrack_core::status::Switch;
use keyrack_core::{OrganizationId, Pepper, TextHash};
use keyrack_engine::{ApiKey, Context, GuardText, NewOrganization, NewRoute, Target};

/// The path of the door that is knocked at.
pub(crate) const DOOR: &str = "/contacts";
/// One in so many numbers is of each class. The others are good keys, which nobody presents: every text that is presented
/// stands between two of them, and a key that is presented too would be nearer at hand.
const EACH: u64 = 60;

/// Why a key is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It never was a key.
    Unknown,
    /// It begins like a key, as far as lists show it.
    Wrong,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
    /// It is switched off.
    Disabled,
    /// It is a good key of another organization.
    Foreign,
}

impl Class {
    pub(crate) const ALL: [Self; 6] =
        [Self::Unknown, Self::Wrong, Self::Revoked, Self::Expired, Self::Disabled, Self::Foreign];

    /// Whether what is presented is a key that the database holds, good or not.
    fn is_kept(self) -> bool {
        !matches!(self, Self::Unknown | Self::Wrong)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Foreign => "foreign",
        }
    }
}

/// The organizations at whose doors keys are presented.
pub(crate) type Doors = [OrganizationId; 2];

/// Gives an instance a second organization, and the first one a door.
pub(crate) async fn prepare(instance: &Instance) -> anyhow::Result<Doors> {
    let engine = crate::process::engine(instance).await?;
    let organization = engine.default_organization().await?.context("no organization")?;
    let ctx = Context::host(organization);
    let other = NewOrganization {
        slug: "other".to_owned(),
        name: None,
        tier: None,
        owner_email: Some(instance::OWNER.to_owned()),
    };
    let other = engine.create_organization(&ctx, other).await?.id;
    let route = NewRoute {
        name: "contacts".to_owned(),
        host: None,
        path: DOOR.to_owned(),
        methods: None,
        disabled: false,
        guard: GuardText { resource: Some("contacts".to_owned()), ..GuardText::default() },
        target: Target::upstream("http://127.0.0.1:9"),
        cors: None,
    };
    engine.create_route(&ctx, route).await?;
    engine.close().await;
    Ok([organization, other])
}

/// Puts keys of these numbers and of every class into an instance.
pub(crate) async fn fill(instance: &Instance, doors: Doors, numbers: Range<u64>) -> anyhow::Result<()> {
    let store = instance.store().await?;
    let mut groups = Vec::new();
    for organization in doors {
        let group = store.read().await?.find_group_by_name(organization, "default").await?;
        groups.push(group.context("no group")?.id);
    }
    let place = |number, key: &mut ApiKey| {
        let drawn = Drawn::of(number);
        let is_foreign = drawn.is_some_and(|drawn| drawn.class == Class::Foreign);
        let home = door_of(number) ^ usize::from(is_foreign);
        (key.organization, key.group) = (doors[home], groups[home]);
        match drawn.map(|drawn| drawn.class) {
            Some(Class::Unknown) => return None,
            Some(Class::Wrong) => return Some(keyrack_bench::beside(number)),
            Some(Class::Revoked) => key.switch = Switch::Revoked,
            Some(Class::Disabled) => key.switch = Switch::Disabled,
            Some(Class::Expired) => key.expires_at = Some(key.created_at + jiff::SignedDuration::from_secs(1)),
            Some(Class::Foreign) | None => {}
        }
        Some(keyrack_bench::text(number))
    };
    instance::insert(&store, &instance.pepper()?, numbers, place).await?;
    store.close().await;
    Ok(())
}

/// One text that is presented.
#[derive(Clone, Copy)]
pub(crate) struct Drawn {
    /// At the door of which organization: as many at each, so that neither is more at hand.
    pub door: usize,
    /// What it is there.
    pub class: Class,
    /// The text. All of them are of one length.
    pub text: [u8; 57],
}

impl Drawn {
    /// What is presented of a number, if it is not one of the good keys, which nobody presents.
    fn of(number: u64) -> Option<Self> {
        let class = *Class::ALL.get(usize::try_from(number % EACH).ok()?)?;
        let mut text = [0; 57];
        text.copy_from_slice(keyrack_bench::text(number).expose().as_bytes());
        Some(Self { door: door_of(number), class, text })
    }
}

/// As many keys of each class are at one door as at the other, and as many of those that nobody presents.
fn door_of(number: u64) -> usize {
    usize::from((number / EACH) % 2 == 1)
}

/// All keys in the order of their digests, and whether they are presented.
struct Beside(Vec<(u64, bool)>);

impl Beside {
    fn new(numbers: Range<u64>, pepper: &Pepper) -> Self {
        let place = |number| {
            let text = match Drawn::of(number).map(|drawn| drawn.class) {
                Some(Class::Unknown) => return None,
                Some(Class::Wrong) => keyrack_bench::beside(number),
                _ => keyrack_bench::text(number),
            };
            let is_presented = Drawn::of(number).is_some_and(|drawn| drawn.class.is_kept());
            Some((pepper.digest(&TextHash::of(text.expose())).locator(), is_presented))
        };
        let mut keys: Vec<_> = numbers.filter_map(place).collect();
        keys.sort_unstable();
        Self(keys)
    }

    /// The two keys between which a text stands, if nobody presents either. One that is presented too would be nearer at hand
    /// than one that is found by its own text alone, and so would be all that lies around it.
    fn neighbours_of(&self, drawn: &Drawn, pepper: &Pepper) -> Option<[u64; 2]> {
        let text = std::str::from_utf8(&drawn.text).unwrap_or_default();
        let locator = pepper.digest(&TextHash::of(text)).locator();
        let place = self.0.partition_point(|(key, _)| *key < locator);
        let beyond = place + usize::from(drawn.class.is_kept());
        let key = |at: usize| self.0.get(at).filter(|(_, is_presented)| !is_presented).map(|(key, _)| *key);
        Some([key(place.checked_sub(1)?)?, key(beyond)?])
    }
}

/// Everything that is presented, in an order at random that begins anew after the last. So no class comes back sooner, and
/// finds what it needs nearer, than another.
pub(crate) struct Order {
    drawn: Vec<Drawn>,
    next: usize,
}

impl Order {
    /// That of the keys of these numbers, with the pepper they are kept under.
    pub(crate) fn new(numbers: Range<u64>, pepper: &Pepper, seed: u64) -> Self {
        let beside = Beside::new(numbers.clone(), pepper);
        let mut drawn: Vec<Drawn> = numbers.clone().filter_map(Drawn::of).collect();
        let mut taken = HashSet::new();
        drawn.retain(|drawn| {
            beside.neighbours_of(drawn, pepper).is_some_and(|keys| keys.map(|key| taken.insert(key)) == [true; 2])
        });
        let mut random = Numbers::from_seed(seed.wrapping_add(numbers.end));
        for at in (1..drawn.len()).rev() {
            drawn.swap(at, random.below(at + 1));
        }
        Self { drawn, next: 0 }
    }

    /// Leaves out what is presented at another door.
    pub(crate) fn at_door(mut self, door: usize) -> Self {
        self.drawn.retain(|drawn| drawn.door == door);
        self
    }

    /// The next one, with its place in the order.
    pub(crate) fn draw(&mut self) -> (usize, Drawn) {
        let at = self.next;
        self.next = (at + 1) % self.drawn.len();
        (at, self.drawn[at])
    }
}
