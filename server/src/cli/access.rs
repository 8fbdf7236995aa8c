//! Members and keys of joint ventures, on the machine of the server.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::admin::{address, find};
use super::open::open;
use super::{CliError, say};
use crate::access::all_scopes;
use crate::access::change::{self, By, GRACE_HOURS, MemberChange, role_of};
use crate::config::Config;
use crate::error::Problem;
use crate::store::{Member, NewKey, NewMember, Store, TenantTx};

#[derive(Debug, Subcommand)]
pub(super) enum MemberCommand {
    /// Make a member and print the link by which it sets a password.
    Invite(Invite),
    /// List the members of a joint venture.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Change a member's role; its sessions end.
    Role {
        /// Name of the joint venture.
        tenant: String,
        /// Name by which the member signs in.
        login: String,
        /// `owner`, `operator`, `approver`, `analyst` or `viewer`.
        role: String,
    },
    /// Print a new link by which a member sets a password.
    Link {
        /// Name of the joint venture.
        tenant: String,
        /// Name by which the member signs in.
        login: String,
    },
    /// Disable a member: its sessions end and its keys are refused.
    Disable {
        /// Name of the joint venture.
        tenant: String,
        /// Name by which the member signs in.
        login: String,
    },
    /// Enable a disabled member.
    Enable {
        /// Name of the joint venture.
        tenant: String,
        /// Name by which the member signs in.
        login: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// Name of the joint venture.
    tenant: String,
    /// Name by which the member signs in, for example an e-mail address.
    login: String,
    /// `owner`, `operator`, `approver`, `analyst` or `viewer`.
    #[arg(long, default_value = "analyst")]
    role: String,
    /// Name for people.
    #[arg(long, default_value = "")]
    name: String,
    /// Party of the joint venture that the member belongs to.
    #[arg(long, default_value = "")]
    organisation: String,
    /// Make a service account, which acts by keys alone.
    #[arg(long)]
    service: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print its secret once.
    New {
        /// Name of the joint venture.
        tenant: String,
        /// Label for people.
        #[arg(long, default_value = "command line")]
        label: String,
        /// Days until it ends; never when absent.
        #[arg(long)]
        days: Option<u16>,
        /// Name of the member that acts with it; itself when absent.
        #[arg(long, value_name = "LOGIN")]
        member: Option<String>,
        /// What it permits, several times or parted by commas; all that may be permitted when absent.
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
        scopes: Vec<String>,
    },
    /// List the keys of a joint venture.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Make a key in the place of another, which stays valid for a while; print its secret once.
    Rotate {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the key.
        key: Uuid,
        /// Hours for which the old one stays valid.
        #[arg(long, default_value_t = GRACE_HOURS)]
        grace_hours: u32,
        /// Days until the new one ends; never when absent.
        #[arg(long)]
        days: Option<u16>,
    },
    /// Revoke a key.
    Revoke {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the key.
        key: Uuid,
    },
}

/// Who works on the machine of the server may do all.
struct Operator(Vec<String>);

impl Operator {
    fn new() -> Self {
        Self(all_scopes())
    }

    fn by(&self) -> By<'_> {
        By { subject: "command line", scopes: &self.0 }
    }
}

fn refused(problem: Problem) -> CliError {
    CliError::Refused(problem)
}

pub(super) async fn member(config: &Config, command: MemberCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = member_on(config, &opened.store, command).await;
    opened.close().await?;
    done
}

async fn named(tx: &mut TenantTx, login: &str) -> Result<Member, CliError> {
    let members = tx.members().await?;
    let found = members.into_iter().find(|member| member.login == login);
    found.ok_or_else(|| {
        CliError::Input(format!(
            "there is no member `{login}`; `tessera member list NAME` lists them"
        ))
    })
}

async fn member_on(config: &Config, store: &Store, command: MemberCommand) -> Result<(), CliError> {
    match command {
        MemberCommand::Invite(wish) => invite(config, store, wish).await,
        MemberCommand::List { tenant } => {
            for member in store.begin(find(store, &tenant).await?).await?.members().await? {
                let kind = if member.service { "service" } else { "person" };
                say(format_args!(
                    "{}\t{}\t{}\t{kind}\t{}\t{}",
                    member.login,
                    member.role.name(),
                    member.standing.name(),
                    member.organisation,
                    member.name
                ))?;
            }
            Ok(())
        }
        MemberCommand::Link { tenant, login } => {
            let mut tx = store.begin(find(store, &tenant).await?).await?;
            let member = named(&mut tx, &login).await?.id;
            let operator = Operator::new();
            let secret = change::invite(&mut tx, &operator.by(), member).await.map_err(refused)?;
            tx.commit().await?;
            say(format_args!("{}/join?token={}", address(config), secret.text))
        }
        MemberCommand::Role { tenant, login, role } => {
            let role = role_of(&role).map_err(refused)?;
            let change = MemberChange { role: Some(role), disabled: None };
            changed(store, &tenant, &login, &change).await
        }
        MemberCommand::Disable { tenant, login } => {
            let change = MemberChange { role: None, disabled: Some(true) };
            changed(store, &tenant, &login, &change).await
        }
        MemberCommand::Enable { tenant, login } => {
            let change = MemberChange { role: None, disabled: Some(false) };
            changed(store, &tenant, &login, &change).await
        }
    }
}

async fn invite(config: &Config, store: &Store, wish: Invite) -> Result<(), CliError> {
    let mut tx = store.begin(find(store, &wish.tenant).await?).await?;
    let new = NewMember {
        service: wish.service,
        login: wish.login,
        name: wish.name,
        organisation: wish.organisation,
        role: role_of(&wish.role).map_err(refused)?,
        by: "command line".to_owned(),
    };
    let operator = Operator::new();
    let (_, secret) = change::add_member(&mut tx, &operator.by(), new).await.map_err(refused)?;
    tx.commit().await?;
    match secret {
        Some(secret) => say(format_args!("{}/join?token={}", address(config), secret.text)),
        None => say("made; `tessera key new NAME --member LOGIN` gives it a key"),
    }
}

async fn changed(
    store: &Store,
    tenant: &str,
    login: &str,
    change: &MemberChange,
) -> Result<(), CliError> {
    let mut tx = store.begin(find(store, tenant).await?).await?;
    let id = named(&mut tx, login).await?.id;
    let operator = Operator::new();
    let member =
        change::change_member(&mut tx, &operator.by(), id, change).await.map_err(refused)?;
    tx.commit().await?;
    say(format_args!("{login}: {}, {}", member.role.name(), member.standing.name()))
}

pub(super) async fn key(config: &Config, command: KeyCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = key_on(&opened.store, command).await;
    opened.close().await?;
    done
}

async fn key_on(store: &Store, command: KeyCommand) -> Result<(), CliError> {
    let operator = Operator::new();
    match command {
        KeyCommand::New { tenant, label, days, member, scopes } => {
            let mut tx = store.begin(find(store, &tenant).await?).await?;
            let member = match member {
                Some(login) => Some(named(&mut tx, &login).await?.id),
                None => None,
            };
            let new = NewKey { label, scopes, days, member, by: "command line".to_owned() };
            let (_, secret) =
                change::add_key(&mut tx, &operator.by(), new).await.map_err(refused)?;
            tx.commit().await?;
            say(secret.text)
        }
        KeyCommand::List { tenant } => {
            for key in store.begin(find(store, &tenant).await?).await?.keys().await? {
                say(format_args!("{}\t{}…\t{}\t{}", key.id, key.prefix, key.state(), key.label))?;
            }
            Ok(())
        }
        KeyCommand::Rotate { tenant, key, grace_hours, days } => {
            let mut tx = store.begin(find(store, &tenant).await?).await?;
            let (_, secret) =
                change::rotate_key(&mut tx, &operator.by(), key, Some(grace_hours), days)
                    .await
                    .map_err(refused)?;
            tx.commit().await?;
            say(secret.text)
        }
        KeyCommand::Revoke { tenant, key } => {
            let mut tx = store.begin(find(store, &tenant).await?).await?;
            change::revoke_key(&mut tx, &operator.by(), key).await.map_err(refused)?;
            tx.commit().await?;
            say(format_args!("revoked {key}"))
        }
    }
}
