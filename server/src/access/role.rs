//! Roles, the scopes that they stand for, and who acts.

use serde::Serialize;
use uuid::Uuid;

/// Everything that a key or a role may be permitted.
pub const SCOPES: &[&str] = &[
    "runs:read",
    "runs:write",
    "approvals:write",
    "data:write",
    "models:write",
    "control:write",
    "webhooks:write",
    "access:read",
    "access:write",
];

/// Returns every scope, for keys of the owner.
pub fn all_scopes() -> Vec<String> {
    SCOPES.iter().map(|&scope| scope.to_owned()).collect()
}

/// What a member is to the joint venture. The order is by how much it permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads runs, approvals, datasets and planners.
    Viewer,
    /// Asks as well, judges runs and brings data.
    Analyst,
    /// Asks as well, and decides approvals.
    Approver,
    /// Does all but change who has access.
    Operator,
    /// Does all.
    Owner,
}

impl Role {
    /// All of them, the strongest first.
    pub const ALL: [Self; 5] =
        [Self::Owner, Self::Operator, Self::Approver, Self::Analyst, Self::Viewer];

    /// Name in the API, in the database and on pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Analyst => "analyst",
            Self::Viewer => "viewer",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Tells whether the role stands for a scope. A new scope is at first the operator's and owner's.
    pub fn permits(self, scope: &str) -> bool {
        match self {
            Self::Owner => SCOPES.contains(&scope),
            Self::Operator => SCOPES.contains(&scope) && scope != "access:write",
            Self::Approver => matches!(scope, "runs:read" | "runs:write" | "approvals:write"),
            Self::Analyst => matches!(scope, "runs:read" | "runs:write" | "data:write"),
            Self::Viewer => scope == "runs:read",
        }
    }

    /// Returns the scopes that the role stands for.
    pub fn scopes(self) -> Vec<String> {
        all_scopes().into_iter().filter(|scope| self.permits(scope)).collect()
    }

    /// Returns the strongest role whose scopes are all among these: what a key that belongs to no member
    /// counts as.
    pub fn of_scopes(scopes: &[String]) -> Self {
        let holds = |role: &Self| role.scopes().iter().all(|scope| scopes.contains(scope));
        Self::ALL.into_iter().find(holds).unwrap_or(Self::Viewer)
    }
}

/// What kind of caller an [`Actor`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A member who is a person, by session or by a key of their own.
    Person,
    /// A service account.
    Service,
    /// A key that belongs to no member.
    Key,
    /// Whoever used a one-time login link of the server.
    Link,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// Tells one actor from another for good: `member:UUID`, `key:UUID`, or `link`, which stands for
    /// everyone who signed in by a one-time link. Two keys and a session of one person are one actor.
    pub id: String,
    /// Name for people, as journals and decisions keep it.
    pub subject: String,
    /// Role.
    pub role: Role,
    /// Kind.
    pub kind: ActorKind,
}

impl Actor {
    /// Whoever signed in by a one-time link of the server; the first owner does.
    pub fn link() -> Self {
        Self {
            id: "link".to_owned(),
            subject: "owner".to_owned(),
            role: Role::Owner,
            kind: ActorKind::Link,
        }
    }

    /// A key that belongs to no member.
    pub fn key(id: Uuid, label: &str, scopes: &[String]) -> Self {
        Self {
            id: format!("key:{id}"),
            subject: label.to_owned(),
            role: Role::of_scopes(scopes),
            kind: ActorKind::Key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_reads_back_from_its_name_and_from_its_scopes() {
        for role in Role::ALL {
            assert_eq!(Role::of(role.name()), Some(role));
            assert_eq!(Role::of_scopes(&role.scopes()), role);
        }
        assert_eq!(Role::of("root"), None);
        assert_eq!(Role::of_scopes(&[]), Role::Viewer);
    }

    #[test]
    fn only_the_owner_changes_who_has_access_and_only_the_strong_decide() {
        let with = |scope: &str| -> Vec<&str> {
            Role::ALL.into_iter().filter(|role| role.permits(scope)).map(Role::name).collect()
        };
        assert_eq!(with("access:write"), ["owner"]);
        assert_eq!(with("access:read"), ["owner", "operator"]);
        assert_eq!(with("approvals:write"), ["owner", "operator", "approver"]);
        assert_eq!(with("data:write"), ["owner", "operator", "analyst"]);
        assert_eq!(with("runs:read").len(), 5);
        assert!(with("anything:else").is_empty());
    }
}
