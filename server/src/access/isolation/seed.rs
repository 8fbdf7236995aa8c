//! The two joint ventures of the self-test. They are made once and used again, because what was journaled
//! is never deleted; nobody is invited to them and no link signs in to them.

use std::collections::BTreeMap;

use agents::dataset::Mapping;
use serde_json::json;
use uuid::Uuid;

use crate::access::{Origin, Role, all_scopes};
use crate::agent::new_run;
use crate::auth;
use crate::dataset::{Job, Upload, import};
use crate::error::Problem;
use crate::store::{
    NewApproval, NewKey, NewMember, NewModel, NewTenant, Place, SignedInBy, Status, Store,
    TenantId, TenantTx, form_token, hash_of,
};

/// Beginning of the names of the self-test's joint ventures.
pub const PREFIX: &str = "self-test-";

/// A joint venture of the self-test, with what it takes to act in it.
#[derive(Debug, Clone)]
pub struct Side {
    /// The joint venture.
    pub tenant: TenantId,
    /// Its name in addresses.
    pub slug: String,
    /// Secret of a key with every scope.
    pub key: String,
    /// Cookie of a session of its owner.
    pub cookie: String,
    /// Token of that session's forms.
    pub csrf: String,
    /// Identifiers of its rows by kind.
    pub ids: BTreeMap<String, Vec<String>>,
    /// A text that only its own rows hold; empty where none is known.
    pub mark: String,
    key_id: Uuid,
}

impl Side {
    /// Lends what it takes to act in a joint venture for the time of a self-test.
    ///
    /// # Errors
    /// `store_unavailable`; `not_found`.
    pub async fn of(store: &Store, tenant: TenantId, mark: &str) -> Result<Self, Problem> {
        let mut tx = store.begin(tenant).await?;
        let slug = tx.tenant().await?.slug;
        let ids = tx.identifiers().await?;
        let new = NewKey {
            label: "self-test".to_owned(),
            scopes: all_scopes(),
            days: Some(1),
            ..NewKey::default()
        };
        let (key_id, key) = tx.create_key(&new).await?;
        let place = Place { address: "self-test".to_owned(), agent: String::new() };
        let session = tx.create_session(SignedInBy::Key(key_id), "self-test", &place).await?;
        tx.commit().await?;
        let cookie = auth::cookie(&Origin::default(), std::slice::from_ref(&session.text));
        Ok(Self {
            tenant,
            slug,
            key: key.text,
            cookie: cookie.split(';').next().unwrap_or_default().to_owned(),
            csrf: form_token(&session.text),
            ids,
            mark: mark.to_owned(),
            key_id,
        })
    }

    /// Takes back what was lent: the key, and with it the session.
    ///
    /// # Errors
    /// `store_unavailable`.
    pub async fn retire(&self, store: &Store) -> Result<(), Problem> {
        let mut tx = store.begin(self.tenant).await?;
        tx.revoke_key(self.key_id).await?;
        Ok(tx.commit().await?)
    }
}

/// Returns the two joint ventures of the self-test, made or found, with fresh rows, and why rows could not
/// be made: where a policy is gone, nothing can be written any more.
///
/// # Errors
/// `store_unavailable`.
pub async fn subjects(store: &Store) -> Result<(Side, Side, Vec<String>), Problem> {
    let mut faults = Vec::new();
    let mark = format!("mark-{}", Uuid::new_v4().simple());
    let mut sides = Vec::new();
    for letter in ["a", "b"] {
        let slug = format!("{PREFIX}{letter}");
        let known = store.directory().await?;
        let tenant = match known.iter().find(|tenant| tenant.slug == slug) {
            Some(found) => found.tenant_id,
            None => store.create_tenant(&venture(&slug)).await?,
        };
        let mark = format!("{mark}-{letter}");
        if let Err(problem) = rows(store, tenant, &mark).await {
            faults.push(format!("no rows can be made to look for: {}", problem.code));
        }
        sides.push(Side::of(store, tenant, &mark).await?);
    }
    let mut sides = sides.into_iter();
    let (one, two) = sides.next().zip(sides.next()).ok_or_else(Problem::internal)?;
    Ok((one, two, faults))
}

fn venture(slug: &str) -> NewTenant {
    NewTenant {
        slug: slug.to_owned(),
        name: "Self-test of isolation".to_owned(),
        pack: "energy".to_owned(),
        currency: "USD".to_owned(),
        timezone: "UTC".to_owned(),
    }
}

/// Makes a row of every kind that a route looks up.
async fn rows(store: &Store, tenant: TenantId, mark: &str) -> Result<(), Problem> {
    let mut tx = store.begin(tenant).await?;
    let (run, _) = tx.create_run(&new_run("energy", "energy", mark, None)).await?;
    // Nothing is to be worked on: the rows stand still while they are compared.
    tx.dequeue(run).await?;
    let asked = NewApproval {
        tool: "act".to_owned(),
        arguments: json!({ "mark": mark }),
        because: "act".to_owned(),
        ..NewApproval::default()
    };
    tx.request_approval(run, &asked).await?;
    tx.set_status(run, Status::WaitingApproval).await?;
    tx.put_document(mark, mark, "en", "self-test", mark).await?;
    let new = NewMember {
        service: false,
        login: mark.to_owned(),
        name: mark.to_owned(),
        organisation: String::new(),
        role: Role::Viewer,
        by: "self-test".to_owned(),
    };
    let member = tx.add_member(&new).await?;
    tx.invite(member, "self-test").await?;
    planner(&mut tx, mark).await?;
    tx.commit().await?;
    let job = Job {
        id: mark.to_owned(),
        upload: Upload::new("load.csv", *b"start,load_kw\n2026-01-01T00:00:00Z,1\nsoon,2\n"),
        wish: Mapping::default(),
        by: "self-test".to_owned(),
    };
    // A file that cannot be read as a table leaves the other kinds to be tried.
    if let Err(error) = import(store, tenant, job, &mut |_| {}).await {
        tracing::warn!(%error, "the self-test has no dataset");
    }
    Ok(())
}

async fn planner(tx: &mut TenantTx, mark: &str) -> Result<(), Problem> {
    let new = NewModel {
        label: None,
        pack: "energy",
        pack_version: "1",
        base: "",
        digest: &hex::encode(hash_of(mark)),
        size: 1,
        report: Some("self-test"),
        by: "self-test",
    };
    let (model, _) = tx.add_model(&new).await?;
    let job = tx.start_model_job("gate", &model.label, Some(model.id)).await?;
    Ok(tx.end_model_job(job, model.id).await?)
}
