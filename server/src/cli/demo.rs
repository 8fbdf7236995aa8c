//! The demo joint ventures: one for each pack, with its fixtures and its generated data as datasets.

use std::sync::Arc;

use agents::dataset::Mapping;
use agents::pack::{FixtureSource, Pack};
use jiff::Timestamp;

use super::CliError;
use crate::access::all_scopes;
use crate::dataset::{Job, Upload, import};
use crate::outcomes;
use crate::store::{NewKey, NewTenant, Secret, Store};
use crate::vault::Vault;

/// A demo joint venture that was just made.
pub(super) struct Made {
    pub(super) slug: String,
    pub(super) key: Secret,
}

/// Makes a joint venture for each pack that has none; returns those made.
pub(super) async fn ensure(store: &Store, vault: &Vault) -> Result<Vec<Made>, CliError> {
    let packs = agents::pack::shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    let known = store.directory().await?;
    let mut made = Vec::new();
    for pack in packs {
        let slug = format!("demo-{}", pack.manifest.id);
        // Looked up one by one: a first start that was killed half-way is completed by the next.
        if known.iter().all(|tenant| tenant.slug != slug) {
            let key = make(store, vault, pack, &slug).await?;
            made.push(Made { slug, key });
        }
    }
    Ok(made)
}

async fn make(store: &Store, vault: &Vault, pack: &Pack, slug: &str) -> Result<Secret, CliError> {
    let fixtures = FixtureSource::of(pack).map_err(|error| CliError::Pack(error.to_string()))?;
    let id = store
        .create_tenant(&NewTenant {
            slug: slug.to_owned(),
            name: format!("{} demo", pack.manifest.title),
            pack: pack.manifest.id.clone(),
            currency: "USD".to_owned(),
            timezone: "UTC".to_owned(),
        })
        .await?;
    let generated = agents::demo::generate(&pack.manifest.id, agents::demo::SEED);
    let generated = generated.map(|demo| demo.datasets).unwrap_or_default();
    let shipped = fixtures.iter().map(|(id, file, bytes)| (id, file, Arc::clone(bytes)));
    let made = generated.iter().map(|one| (&*one.id, &*one.file, Arc::from(&*one.bytes)));
    for (name, file, bytes) in shipped.chain(made) {
        let job = Job {
            id: name.to_owned(),
            upload: Upload::new(file, bytes),
            wish: Mapping::default(),
            by: "demo".to_owned(),
        };
        import(store, id, job, &mut |_| {}).await?;
    }
    let mut tx = store.begin(id).await?;
    outcomes::demo::tell(&mut tx, vault, &pack.manifest, Timestamp::now())
        .await
        .map_err(|problem| CliError::Pack(problem.detail))?;
    let new = NewKey { label: "demo".to_owned(), scopes: all_scopes(), ..NewKey::default() };
    let (_, key) = tx.create_key(&new).await?;
    tx.commit().await?;
    Ok(key)
}
