//! Organizations with their groups, workspaces and access groups, in memory: what a decision asks beside the key.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use keyrack_core::format::{self, Body};
use keyrack_core::{GroupId, KeyFormat, OrganizationId, OrganizationState, RateLimits, Tier, Timestamp, WorkspaceId};
use keyrack_store::{KeyGroup, Organization, Workspace};
use uuid::Uuid;

use crate::limits::Limits;
use crate::quota::Quota;
use crate::settings::SignInRules;

/// An organization as it is now.
pub type TenantCell = ArcSwap<Tenant>;

/// An organization with all that belongs to it but keys and people.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The organization itself.
    pub organization: Organization,
    /// Its groups.
    pub groups: HashMap<GroupId, KeyGroup>,
    /// Its workspaces.
    pub workspaces: HashMap<WorkspaceId, Workspace>,
    /// Which of its groups may manage.
    pub access_groups: BTreeSet<GroupId>,
    /// What it asks of people who are signed in.
    pub sign_in: SignInRules,
    /// How much all its keys together may ask for.
    pub(crate) limits: Limits,
    /// The same of each group that is limited: of most organizations none is.
    pub(crate) group_limits: Vec<(GroupId, Limits)>,
    /// What this process may spend of its monthly quota.
    pub(crate) quota: Arc<Quota>,
}

impl Tenant {
    /// An organization that is none, for what decisions look at when there is no key. In all it may cost, it is like any.
    pub(crate) fn nobody() -> Self {
        let at = Timestamp::UNIX_EPOCH;
        let organization = Organization {
            id: OrganizationId(Uuid::nil()),
            slug: String::new(),
            name: String::new(),
            tier: Tier::Free,
            state: OrganizationState::Deleted,
            rate_limits: RateLimits::default(),
            created_at: at,
            updated_at: at,
        };
        let access_groups = BTreeSet::from([GroupId(Uuid::max())]);
        Self::new(organization, HashMap::new(), HashMap::new(), access_groups)
    }

    /// An organization of which nothing has been counted.
    pub fn new(
        organization: Organization,
        groups: HashMap<GroupId, KeyGroup>,
        workspaces: HashMap<WorkspaceId, Workspace>,
        access_groups: BTreeSet<GroupId>,
    ) -> Self {
        let (limits, group_limits, quota) = (Limits::default(), Vec::new(), Arc::default());
        let sign_in = SignInRules::default();
        let new = Self { organization, groups, workspaces, access_groups, sign_in, limits, group_limits, quota };
        new.counting_on(None)
    }

    /// The same with what has been counted of it as it was before.
    fn counting_on(mut self, before: Option<&Self>) -> Self {
        let limited = self.groups.values().filter(|group| !group.rate_limits.is_unrestricted());
        let counted = |group: &KeyGroup| before.and_then(|before| before.limits_of(group.id));
        let with_counted = |group: &KeyGroup| (group.id, Limits::after(counted(group), &group.rate_limits));
        self.group_limits = limited.map(with_counted).collect();
        self.limits = Limits::after(before.map(|before| &before.limits), &self.organization.rate_limits);
        if let Some(before) = before {
            self.quota = Arc::clone(&before.quota);
        }
        self
    }

    /// The limits that all keys of a group share, if it has any.
    pub(crate) fn limits_of(&self, group: GroupId) -> Option<&Limits> {
        self.group_limits.iter().find(|(id, _)| *id == group).map(|(_, limits)| limits)
    }

    /// Whether keys of this group may manage. Compared with each: a search would go this way or that by which group it is, and
    /// the processor would guess that now rightly and now wrongly.
    #[expect(clippy::needless_bitwise_bool, reason = "a lazy operator would stop at the first")]
    pub(crate) fn is_access_group(&self, group: GroupId) -> bool {
        self.access_groups.iter().fold(false, |is_one, other| is_one | (*other == group))
    }

    /// The group of this name or id.
    pub fn group(&self, name_or_id: &str) -> Option<&KeyGroup> {
        let id = name_or_id.parse().ok().and_then(|id: GroupId| self.groups.get(&id));
        id.or_else(|| self.groups.values().find(|g| g.name == name_or_id))
    }

    /// The workspace of this slug or id.
    pub fn workspace(&self, slug_or_id: &str) -> Option<&Workspace> {
        let id = slug_or_id.parse().ok().and_then(|id: WorkspaceId| self.workspaces.get(&id));
        id.or_else(|| self.workspaces.values().find(|w| w.slug == slug_or_id))
    }
}

/// Every organization. An entry stays as long as the process lives; what it says is replaced.
#[derive(Default)]
pub struct Directory {
    tenants: ArcSwap<HashMap<OrganizationId, Arc<TenantCell>>>,
    slugs: ArcSwap<HashMap<String, OrganizationId>>,
    formats: ArcSwap<Formats>,
}

/// How the keys of this instance look.
#[derive(Clone, Default)]
struct Formats {
    prefixes: HashMap<Body, HashSet<Box<str>>>,
    imported: bool,
}

impl Formats {
    fn add(&mut self, format: &KeyFormat) {
        let prefixes = self.prefixes.entry(format.body()).or_default();
        prefixes.extend(format.prefixes().into_iter().map(Into::into));
    }
}

impl Directory {
    /// An organization, whatever its state.
    pub fn find(&self, id: OrganizationId) -> Option<Arc<TenantCell>> {
        self.tenants.load().get(&id).cloned()
    }

    /// An organization as it is at this moment.
    pub fn tenant(&self, id: OrganizationId) -> Option<Arc<Tenant>> {
        self.tenants.load().get(&id).map(|cell| cell.load_full())
    }

    /// The organization of a slug or id.
    pub fn resolve(&self, slug_or_id: &str) -> Option<Arc<Tenant>> {
        let by_slug = self.slugs.load().get(slug_or_id).copied();
        self.tenant(by_slug.or_else(|| slug_or_id.parse().ok())?)
    }

    /// Puts organizations in the place of what was known of them.
    pub fn put(&self, changed: impl IntoIterator<Item = Tenant>) {
        let mut formats = Formats::clone(&self.formats.load());
        let mut slugs = HashMap::clone(&self.slugs.load());
        let mut tenants = HashMap::clone(&self.tenants.load());
        for tenant in changed {
            for group in tenant.groups.values() {
                std::iter::once(&group.key_format).chain(&group.former_formats).for_each(|f| formats.add(f));
            }
            let id = tenant.organization.id;
            slugs.insert(tenant.organization.slug.clone(), id);
            match tenants.get(&id) {
                Some(cell) => cell.store(Arc::new(tenant.counting_on(Some(&cell.load())))),
                None => drop(tenants.insert(id, Arc::new(ArcSwap::from_pointee(tenant)))),
            }
        }
        self.formats.store(Arc::new(formats));
        self.tenants.store(Arc::new(tenants));
        self.slugs.store(Arc::new(slugs));
    }

    /// From now on text of no group's format is looked up too.
    pub fn expect_imported(&self) {
        if !self.formats.load().imported {
            let formats = Formats { imported: true, ..Formats::clone(&self.formats.load()) };
            self.formats.store(Arc::new(formats));
        }
    }

    /// Whether text could be a key at all: what cannot is refused without a look-up. What bears a checksum is not junk,
    /// whether some group has its prefix or not.
    pub fn could_be_key(&self, text: &str) -> bool {
        let is_known = |prefix: &str, body| self.formats.load().prefixes.get(&body).is_some_and(|p| p.contains(prefix));
        format::readings(text).any(|(prefix, body)| body == Body::Base62 || is_known(prefix, body))
            || (self.formats.load().imported && format::is_importable(text))
    }
}
