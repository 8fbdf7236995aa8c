//! What the catalogue must say, and what two tenants must not see of each other.

use agents::dataset::Mapping;
use agents::outcome::receipt::Seal;
use agents::synth::Consent;
use server::access::Role;
use server::dataset::{Job, Upload, import};
use server::postgres::{Cluster, checked_folder};
use server::store::{
    Address, Amounts, ApprovalRule, Attempt, Busy, EndpointSecret, EndpointSettings, Judgement,
    NewApproval, NewBudget, NewCompletion, NewEffect, NewInbound, NewKey, NewMember, NewModel,
    NewRun, NewSchedule, NewSource, NewTenant, Noted, POLICY, PackRelease, PackSetting, Period,
    Place, ROUTING, Resource, RunId, RunSource, Settled, ShadowPlan, SignedInBy, StartOutcome,
    Store, StoreError, SwitchScope, TenantId, TenantTx, Vote, hash_of,
};
use server::vault::Vault;
use sqlx::{Connection as _, PgConnection};

use crate::support::Folder;

pub(crate) struct World {
    cluster: Cluster,
    pub(crate) address: Address,
    pub(crate) store: Store,
    pub(crate) one: TenantId,
    pub(crate) two: TenantId,
    _folder: Folder,
}

async fn tenant(store: &Store, slug: &str) -> TenantId {
    let id = store
        .create_tenant(&NewTenant {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            pack: "energy".to_owned(),
            currency: "USD".to_owned(),
            timezone: "UTC".to_owned(),
        })
        .await
        .unwrap();
    let mut tx = store.begin(id).await.unwrap();
    tx.create_key(&NewKey::default()).await.unwrap();
    tx.create_login_link(5).await.unwrap();
    tx.create_session(SignedInBy::Link, "seed", &Place::default()).await.unwrap();
    seed_member(&mut tx).await;
    tx.put_document("terms", "Terms", "en", "own", "text").await.unwrap();
    let (run, _) = tx.create_run(&new_run("seed", "same request")).await.unwrap();
    seed_trust(&mut tx, run).await;
    seed_control(&mut tx, run).await;
    tx.record_usage(run, 1, 2, 3, 4.0).await.unwrap();
    tx.set_consent(RunSource::Api, Consent::Own, "seed").await.unwrap();
    let calls = serde_json::json!([]);
    tx.judge_run(run, Judgement::Accepted, "", &calls, "seed").await.unwrap();
    seed_planner(&mut tx, run).await;
    tx.note_effort(run, 60, 0, "seed").await.unwrap();
    seed_completion(&mut tx).await;
    let energy = agents::pack::shipped().unwrap().iter().find(|p| p.manifest.id == "energy");
    // The story of a demo fills every table of outcomes; of a randomised one, also that of units.
    let manifest = &energy.unwrap().manifest;
    let vault = Vault::read("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
    server::outcomes::demo::tell(&mut tx, &vault, manifest, jiff::Timestamp::now()).await.unwrap();
    let partner = Seal::of(&[9; 32]).unwrap();
    tx.add_party_key(&partner.register(slug, "Partner"), "seed").await.unwrap();
    let signed = partner.countersign("Partner", "00", jiff::Timestamp::UNIX_EPOCH);
    tx.add_countersignature(1, &signed, "seed").await.unwrap();
    let design = tx.experiments(None).await.unwrap().remove(0).design;
    tx.enrol(&design, &["plant".to_owned()]).await.unwrap();
    seed_webhooks(&mut tx, run).await;
    seed_pack(&mut tx).await;
    tx.commit().await.unwrap();
    let job = Job {
        id: "load".to_owned(),
        upload: Upload::new("load.csv", *b"start,load_kw\n2026-01-01T00:00:00Z,1\nsoon,2\n"),
        wish: serde_json::from_str::<Mapping>(
            r#"{"columns": [{"source": "start", "type": "time", "format": "ymd"}], "time": "start"}"#,
        )
        .unwrap(),
        by: "seed".to_owned(),
    };
    import(store, id, job, &mut |_| {}).await.unwrap();
    id
}

async fn seed_pack(tx: &mut TenantTx) {
    let at = jiff::Timestamp::UNIX_EPOCH;
    let release = PackRelease {
        digest: "ab".repeat(32),
        pack: "seeded".to_owned(),
        version: "1.0.0".to_owned(),
        signer: None,
        permissions: serde_json::json!({}),
        installed_by: "seed".to_owned(),
        installed_at: at,
        live_at: at,
    };
    tx.put_pack_release(&release).await.unwrap();
    // The joint venture goes on with the pack that the other seeds are about.
    tx.set_pack("energy").await.unwrap();
    let row = uuid::Uuid::from_u128(7);
    let setting = PackSetting { setting: "token".to_owned(), row, sealed: vec![1, 2, 3] };
    tx.put_pack_setting("seeded", &setting, "seed").await.unwrap();
}

async fn seed_completion(tx: &mut TenantTx) {
    let kept = serde_json::json!({"response": {}, "messages": [], "items": []});
    let new = NewCompletion {
        id: uuid::Uuid::now_v7(),
        kind: "response",
        model: "planner",
        by: "seed",
        prompt_tokens: 1,
        cached_tokens: 0,
        decoded_tokens: 1,
        ms: 1,
        kept: Some(&kept),
    };
    tx.add_completion(&new).await.unwrap();
}

async fn seed_control(tx: &mut TenantTx, run: RunId) {
    let arguments = serde_json::json!({});
    let effect = NewEffect {
        key: "same key",
        tool: "act",
        arguments: &arguments,
        arguments_sha256: "00",
        reference: "EF-1",
        run: Some(run),
    };
    tx.start_effect(effect).await.unwrap();
    let budget = NewBudget {
        agent: String::new(),
        resource: Resource::Calls,
        period: Period::Day,
        most: 100,
    };
    tx.set_budget(&budget, "seed").await.unwrap();
    let one = Amounts { tokens: 0, calls: 1, wall_ms: 0 };
    assert!(tx.reserve(run, "energy", ("plan", None), one).await.unwrap().is_none());
    tx.set_price("call", Some(5), "seed").await.unwrap();
    tx.set_switch(SwitchScope::Tool, "never", true, "a test", "seed").await.unwrap();
    let schedule = NewSchedule {
        name: "nightly".to_owned(),
        cron: "0 3 * * *".to_owned(),
        request: "what".to_owned(),
        thread: None,
        busy: Busy::Queue,
        make_up: false,
    };
    let id = tx.add_schedule(&schedule, None, "seed").await.unwrap();
    let at = jiff::Timestamp::UNIX_EPOCH;
    tx.note_start(id, at, StartOutcome::Missed, (1, ""), None).await.unwrap();
}

async fn seed_trust(tx: &mut TenantTx, run: RunId) {
    let asked = NewApproval {
        tool: "act".to_owned(),
        arguments: serde_json::json!({}),
        because: "act".to_owned(),
        ..NewApproval::default()
    };
    tx.request_approval(run, &asked).await.unwrap();
    let approval = tx.approvals(true).await.unwrap()[0].id;
    let vote = Vote {
        voter: "member:1".to_owned(),
        subject: "ann".to_owned(),
        authority: "member:1".to_owned(),
        role: "approver".to_owned(),
        approved: true,
        reason: String::new(),
        via: "api".to_owned(),
        binding_sha256: String::new(),
    };
    tx.add_vote(approval, &vote).await.unwrap();
    let rule = ApprovalRule {
        id: approval,
        tool: "other".to_owned(),
        argument: String::new(),
        above: "0".to_owned(),
        roles: Vec::new(),
        needed: 2,
        set_by: "seed".to_owned(),
    };
    tx.add_approval_rule(&rule).await.unwrap();
    tx.delegate(("member:1", "ann", "approver"), "member:2", "away", 1).await.unwrap();
    tx.link_key().await.unwrap();
    tx.use_link(approval, approval).await.unwrap();
    tx.set_retention(Some(36_500), "seed").await.unwrap();
    tx.note(&Noted { kind: "seed", ..Noted::default() }).await.unwrap();
}

async fn seed_webhooks(tx: &mut TenantTx, run: RunId) {
    tx.add_egress_rule("only", "hooks.example.com", "seed").await.unwrap();
    tx.note_egress_refusal("seed", "example.com", "host_not_listed").await.unwrap();
    let settings = EndpointSettings {
        url: "https://hooks.example.com/".to_owned(),
        description: String::new(),
        events: vec!["run.*".to_owned()],
        ordered: false,
    };
    let endpoint = tx.add_endpoint(&settings, "seed").await.unwrap().id;
    let secret = EndpointSecret {
        id: uuid::Uuid::now_v7(),
        scheme: "v1".to_owned(),
        sealed: vec![0],
        public_key: None,
        expires_at: None,
    };
    tx.add_endpoint_secret(endpoint, &secret, 1).await.unwrap();
    let event = tx.publish("run.failed", "seed", &serde_json::json!({})).await.unwrap().unwrap();
    let attempt = Attempt {
        event,
        taken: 0,
        at: jiff::Timestamp::UNIX_EPOCH,
        ms: 1,
        status: Some(200),
        error: None,
        request: serde_json::json!({}),
        response_headers: None,
        response_body: None,
        settled: Settled::Delivered,
    };
    tx.settle_deliveries(endpoint, &[attempt], 0.0).await.unwrap();
    tx.disable_endpoint(endpoint, "paused").await.unwrap();
    let source = NewSource {
        id: uuid::Uuid::now_v7(),
        name: "seed".to_owned(),
        verifier: serde_json::json!({}),
        sealed: vec![0],
        mapping: serde_json::json!({}),
    };
    let source = tx.add_source(&source, "seed").await.unwrap().id;
    let new = NewInbound { source, external_id: "same", payload: "{}" };
    assert!(tx.receive(&new).await.unwrap());
    tx.conclude_inbound(&new, "started", "", Some(run)).await.unwrap();
}

async fn seed_member(tx: &mut TenantTx) {
    let new = NewMember {
        service: false,
        login: "ana".to_owned(),
        name: "Ana".to_owned(),
        organisation: "Harbour".to_owned(),
        role: Role::Analyst,
        by: "seed".to_owned(),
    };
    let member = tx.add_member(&new).await.unwrap();
    tx.invite(member, "seed").await.unwrap();
}

async fn seed_planner(tx: &mut TenantTx, run: RunId) {
    let new = NewModel {
        label: None,
        pack: "energy",
        pack_version: "1",
        base: "",
        digest: &"0".repeat(64),
        size: 1,
        report: None,
        by: "seed",
    };
    let (model, _) = tx.add_model(&new).await.unwrap();
    tx.start_model_job("gate", "v1", Some(model.id)).await.unwrap();
    tx.add_promotion(Some(model.id), false, "seed").await.unwrap();
    let plan = ShadowPlan {
        run,
        request: String::new(),
        differs: "none".to_owned(),
        live: serde_json::json!({}),
        shadow: serde_json::json!({}),
        live_ms: 1.0,
        shadow_ms: 1.0,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    tx.add_shadow_plan(model.id, &plan).await.unwrap();
}

pub(crate) fn new_run(key: &str, request: &str) -> NewRun {
    NewRun {
        agent: "energy".to_owned(),
        pack: "energy".to_owned(),
        request: request.to_owned(),
        lang: "en".to_owned(),
        source: RunSource::Api,
        idempotency_key: Some(key.to_owned()),
        thread: None,
        first_type: "run.created",
        first: serde_json::json!({ "type": "run.created", "request": request }),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = Folder::new();
        let root = checked_folder(&folder.path()).unwrap();
        let cluster = Cluster::start(&root).await.unwrap();
        let address = cluster.address().await.unwrap();
        Store::migrate(&address).await.unwrap();
        let store = Store::connect(&address).await.unwrap();
        let one = tenant(&store, "one").await;
        let two = tenant(&store, "two").await;
        Self { cluster, address, store, one, two, _folder: folder }
    }

    pub(crate) async fn raw(&self, url: &str) -> PgConnection {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql("set search_path = tessera").execute(&mut connection).await.unwrap();
        connection
    }

    pub(crate) async fn close(self) {
        self.store.close().await;
        self.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn tenants_are_walls_in_the_catalogue_and_in_every_row() {
    let world = World::new().await;
    catalogue_is_exact(&world).await;
    every_table_shows_a_tenant_its_own_rows_only(&world).await;
    the_store_finds_nothing_of_another(&world).await;
    the_same_key_makes_one_run(&world).await;
    world.close().await;
}

async fn catalogue_is_exact(world: &World) {
    let mut owner = world.raw(&world.address.owner).await;
    let tables: Vec<(String, bool, bool)> = sqlx::query_as(
        "select relname::text, relrowsecurity, relforcerowsecurity from pg_class
         where relnamespace = 'tessera'::regnamespace and relkind in ('r', 'p') order by 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for (table, enabled, forced) in tables {
        if ROUTING.contains(&table.as_str()) || table == "_sqlx_migrations" {
            continue;
        }
        assert!(enabled && forced, "{table} has no forced row-level security");
        let policies: Vec<(String, String, String, String)> = sqlx::query_as(
            "select cmd, roles::text, qual, with_check from pg_policies
             where schemaname = 'tessera' and tablename = $1",
        )
        .bind(&table)
        .fetch_all(&mut owner)
        .await
        .unwrap();
        let expected =
            ("ALL".to_owned(), "{tessera_rt}".to_owned(), POLICY.to_owned(), POLICY.to_owned());
        assert_eq!(policies, [expected], "{table}");
        let loose: Vec<String> = sqlx::query_scalar(
            "select conname::text from pg_constraint c
             join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
             where c.conrelid = format('tessera.%I', $1)::regclass and contype in ('p', 'u', 'f')
               and a.attname <> 'tenant_id'",
        )
        .bind(&table)
        .fetch_all(&mut owner)
        .await
        .unwrap();
        assert!(loose.is_empty(), "{table}: {loose:?} do not begin with tenant_id");
    }
    let (weak, hidden): (bool, i64) = sqlx::query_as(
        "select (select rolsuper or rolbypassrls or pg_has_role(rolname, 'tessera_owner', 'member')
                 from pg_roles where rolname = 'tessera_rt'),
                (select count(*) from pg_proc where prosecdef
                   and pronamespace = 'tessera'::regnamespace)
              + (select count(*) from pg_class where relkind in ('m', 'v', 'S')
                   and relnamespace = 'tessera'::regnamespace)",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert!(!weak, "the runtime role is too strong");
    assert_eq!(hidden, 0, "a view, sequence or definer function goes around the policies");
}

async fn every_table_shows_a_tenant_its_own_rows_only(world: &World) {
    let mut runtime = world.raw(&world.address.runtime).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select tablename::text from pg_policies where schemaname = 'tessera' order by 1",
    )
    .fetch_all(&mut runtime)
    .await
    .unwrap();
    for table in tables {
        let count = format!("select count(*), count(*) filter (where tenant_id = $1) from {table}");
        let unset: (i64, i64) = sqlx::query_as(sqlx::AssertSqlSafe(count.clone()))
            .bind(world.one)
            .fetch_one(&mut runtime)
            .await
            .unwrap();
        assert_eq!(unset, (0, 0), "{table} shows rows without a tenant");
        let mut tx = runtime.begin().await.unwrap();
        sqlx::query("select set_config('tessera.tenant_id', $1, true)")
            .bind(world.one.to_string())
            .execute(&mut *tx)
            .await
            .unwrap();
        let (all, own): (i64, i64) = sqlx::query_as(sqlx::AssertSqlSafe(count))
            .bind(world.one)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert!(own > 0, "{table} was not seeded");
        assert_eq!(all, own, "{table} shows rows of another tenant");
        tx.rollback().await.unwrap();
    }
    let mut tx = runtime.begin().await.unwrap();
    sqlx::query("select set_config('tessera.tenant_id', $1, true)")
        .bind(world.one.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    let foreign = sqlx::query(
        "insert into dataset (tenant_id, dataset_id, version, media_type, bytes)
         values ($1, 'x', 1, 'text/csv', '')",
    )
    .bind(world.two)
    .execute(&mut *tx)
    .await;
    assert!(foreign.unwrap_err().to_string().contains("row-level security"));
    drop(tx);
    assert!(sqlx::query("truncate run cascade").execute(&mut runtime).await.is_err());
    for forbidden in [
        "update run_event set type = 'x'",
        "update run_event set sha256 = 'x'",
        "delete from run_event",
        "update audit_entry set detail = '{}'",
        "delete from audit_entry",
        "update approval_vote set approved = false",
        "delete from approval_vote",
    ] {
        let refused = sqlx::query(forbidden).execute(&mut runtime).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{forbidden}: {refused}");
    }
}

async fn the_store_finds_nothing_of_another(world: &World) {
    let mut tx = world.store.begin(world.two).await.unwrap();
    let run = tx.list_runs(None, 10).await.unwrap().items[0].id;
    drop(tx);
    let mut tx = world.store.begin(world.one).await.unwrap();
    assert!(matches!(tx.get_run(run).await, Err(StoreError::NotFound("run"))));
    assert!(tx.events(run, 0).await.unwrap().is_empty());
    let append = tx.append_event(run, "x", &serde_json::json!({})).await;
    assert!(matches!(append, Err(StoreError::NotFound("run"))));
    drop(tx);
    assert!(world.store.find_key(&hash_of("tsk_unknown")).await.unwrap().is_none());
}

async fn the_same_key_makes_one_run(world: &World) {
    let mut tx = world.store.begin(world.one).await.unwrap();
    let (first, new) = tx.create_run(&new_run("k", "a")).await.unwrap();
    let (again, repeated) = tx.create_run(&new_run("k", "a")).await.unwrap();
    assert!(new && !repeated && first == again);
    let other = tx.create_run(&new_run("k", "b")).await;
    assert!(matches!(other, Err(StoreError::Conflict(_))));
}
