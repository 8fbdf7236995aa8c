//! Every route that is served, tried by one rule: who may call it, from where, and what it shows of others.

use std::sync::Arc;

use agents::dataset::Mapping;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use clap::Parser;
use serde_json::Value;
use server::access::isolation::{Report, Served, Side, fitting_body, query_of, served, test};
use server::access::{Access, Origin, Role, SCOPES};
use server::agent::Agents;
use server::config::Config;
use server::dataset::{Job, Upload, import};
use server::egress::Egress;
use server::http::router;
use server::models::Models;
use server::openapi::{OPERATIONS, Operation};
use server::state::AppState;
use server::store::{NewKey, Place, ROUTING, SignedInBy, Store, TenantId, form_token};
use sqlx::Connection as _;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::support::{Folder, Server, output};
use crate::tenancy::World;

#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    config: Config,
}

/// Builds the routes as the server does.
fn routes_of(store: &Store, origin: Origin) -> Router {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    let data = folder.path().display().to_string();
    let config = Defaults::parse_from(["tessera", "--data", &data]).config;
    let agents = Arc::new(Agents::shipped(Models::open(&config).unwrap()).unwrap());
    let access = Arc::new(Access { origin, ..Access::default() });
    // The sender is gone: nothing of these tests waits for a stop.
    let stopped = watch::channel(false).1;
    let (egress, vault) = (Egress::default(), Arc::new(config.vault().unwrap()));
    router(AppState { store: store.clone(), agents, egress, vault, access, stopped })
}

struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
}

async fn send(
    router: &Router,
    method: &str,
    path: &str,
    with: &[(&str, &str)],
    body: &str,
) -> Told {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in with {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Told { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

/// Returns each route and method, with its parameters filled in.
fn filled(router: &Router, under: &str, slug: &str) -> Vec<(String, Served, String)> {
    let mut list = Vec::new();
    for route in served(router) {
        if !route.path.starts_with(under) || route.path.contains("{*") {
            continue;
        }
        let parts = route.path.split('/').map(|part| match part {
            "{slug}" => slug,
            part if part.starts_with('{') => "00000000-0000-7000-8000-000000000000",
            part => part,
        });
        let path = parts.collect::<Vec<_>>().join("/");
        for method in &route.methods {
            list.push((method.clone(), route.clone(), path.clone()));
        }
    }
    assert!(list.len() > 3, "the routes are not listed: {list:?}");
    list
}

async fn key(store: &Store, tenant: TenantId, scopes: &[&str]) -> String {
    let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    let mut tx = store.begin(tenant).await.unwrap();
    let new = NewKey { label: "test".to_owned(), scopes, ..NewKey::default() };
    let (_, secret) = tx.create_key(&new).await.unwrap();
    tx.commit().await.unwrap();
    secret.text
}

/// Signs somebody in and returns the cookie and the token of its forms.
async fn session(store: &Store, tenant: TenantId, scopes: Option<&[&str]>) -> (String, String) {
    let mut tx = store.begin(tenant).await.unwrap();
    let by = match scopes {
        None => SignedInBy::Link,
        Some(scopes) => {
            let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
            let new = NewKey { label: "page".to_owned(), scopes, ..NewKey::default() };
            SignedInBy::Key(tx.create_key(&new).await.unwrap().0)
        }
    };
    let secret = tx.create_session(by, "owner", &Place::default()).await.unwrap();
    tx.commit().await.unwrap();
    (format!("tessera={}", secret.text), form_token(&secret.text))
}

async fn a_key_without_scopes_is_refused_everywhere(world: &World, router: &Router) {
    let mut wrongly = Vec::new();
    let bare = format!("Bearer {}", key(&world.store, world.one, &[]).await);
    let wrong = "Bearer tsk_nonsense";
    for (method, route, path) in filled(router, "/v1/", "one") {
        let known =
            |one: &&Operation| one.path == route.path && one.method == method.to_lowercase();
        let described = OPERATIONS.iter().find(known);
        // What other systems call proves itself by a signature.
        if described.is_some_and(|one| one.open) {
            continue;
        }
        let plain = bare.trim_start_matches("Bearer ");
        let body = if method == "GET" {
            String::new()
        } else {
            fitting_body(router, plain, &method, &route, &path).await.unwrap()
        };
        let body = body.replace("$member_id", &world.one.to_string());
        let kind = ("content-type", "application/json");
        let path = format!("{path}{}", query_of(&route.path));
        for (authorization, status, code) in [
            (None, 401, "unauthorized"),
            (Some(wrong), 401, "unauthorized"),
            (Some(bare.as_str()), 403, "missing_scope"),
        ] {
            // What everybody with a key may read.
            if status == 403 && described.is_some_and(|one| one.scope.is_empty()) {
                assert_eq!(method, "GET", "{} changes without a scope", route.path);
                continue;
            }
            let mut with = vec![kind];
            with.extend(authorization.map(|value| ("authorization", value)));
            let told = send(router, &method, &path, &with, &body).await;
            let problem: Value = serde_json::from_str(&told.text).unwrap_or_default();
            let kind = told.headers.get("content-type").and_then(|v| v.to_str().ok());
            let right = (told.status, problem["code"].as_str()) == (status, Some(code))
                && kind == Some("application/problem+json");
            if !right {
                wrongly.push(format!("{method} {} for {status}: {}", route.path, told.text));
            }
        }
    }
    assert!(wrongly.is_empty(), "{wrongly:#?}");
}

/// Every field that any form has, so that only the token or the right is missing.
const FIELDS: &str = "request=x&decision=approve&reason=&verdict=accepted&source=api&level=none&do=invite&role=owner&login=x&label=x&current=x&password=x&again=x&id=x&version=1&on=true&minutes=1&what=jv&off=true&why=x&item=x&name=x&cron=x&change=on&compute=1&wage=1&remote=x&prompt=1&decoded=1&observations=x&answer=x&url=x&outcome=happened&found=x&kind=standard&verifier=standard&template=x&mapping=x&index=0&call=0&amount=1";

/// Routes beside the API's own that take a key and no cookie.
const BY_KEY: [&str; 2] = ["/mcp", "/a2a"];

/// Forms of people who are not signed in yet, and so have no token.
const WITHOUT_SESSION: [&str; 3] = ["/login", "/join", "/decide/{token}"];

async fn every_form_of_another_site_is_refused(world: &World, router: &Router) {
    let (cookie, csrf) = session(&world.store, world.one, None).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let (mut tried, mut wrongly) = (0, Vec::new());
    for (method, route, path) in filled(router, "/", "one") {
        let by_key = route.path.starts_with("/v1/") || BY_KEY.contains(&route.path.as_str());
        if by_key || matches!(method.as_str(), "GET" | "HEAD") {
            continue;
        }
        tried += 1;
        let body =
            format!("csrf={csrf}&request=x&decision=approve&key=x&token=x&password=&again=x");
        let own = [("cookie", cookie.as_str()), form, ("host", "tessera")];
        for foreign in [
            &[("origin", "http://elsewhere.example")][..],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://tessera")],
        ] {
            let with = [&own[..], foreign].concat();
            let told = send(router, &method, &path, &with, &body).await;
            assert_eq!(told.status, 403, "{method} {} with {foreign:?}: {}", route.path, told.text);
            assert!(told.text.contains("another site"), "{method} {}", route.path);
        }
        if WITHOUT_SESSION.contains(&route.path.as_str()) {
            continue;
        }
        for token in ["", "csrf=x&", "csrf=&"] {
            let with =
                [&own[..], &[("sec-fetch-site", "same-origin"), ("origin", "http://tessera")]]
                    .concat();
            let told = send(router, &method, &path, &with, &format!("{token}{FIELDS}")).await;
            if !(told.status == 403 || token.is_empty() && told.status == 422) {
                let path = &route.path;
                wrongly
                    .push(format!("{method} {path} with `{token}`: {} {}", told.status, told.text));
            }
        }
    }
    assert!(tried > 10, "{tried} forms");
    assert!(wrongly.is_empty(), "{wrongly:#?}");
}

async fn a_viewer_changes_nothing_on_any_page(world: &World, router: &Router) {
    let mut wrongly = Vec::new();
    let (cookie, csrf) = session(&world.store, world.one, Some(&["runs:read"])).await;
    for (method, route, path) in filled(router, "/jv/", "one") {
        let ends = ["/jv/{slug}/access/sessions/{session}", "/jv/{slug}/access/password"];
        // One's own session and password are everybody's.
        if method == "GET" || ends.contains(&route.path.as_str()) {
            continue;
        }
        let body = format!("csrf={csrf}&{FIELDS}");
        let with =
            [("cookie", cookie.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let told = send(router, &method, &path, &with, &body).await;
        // A file comes with a form of its own kind, in which this token is not found.
        let told_why = told.text.contains("lacks the scope") || route.path == "/jv/{slug}/datasets";
        if told.status != 403 || !told_why {
            wrongly.push(format!("{method} {}: {} {}", route.path, told.status, told.text));
        }
    }
    assert!(wrongly.is_empty(), "{wrongly:#?}");
}

async fn every_answer_carries_the_headers(router: &Router, secure: bool) {
    let mut addresses = filled(router, "/", "one");
    let lost = Served { path: "/nowhere".to_owned(), methods: vec!["GET".to_owned()] };
    addresses.push(("GET".to_owned(), lost.clone(), lost.path.clone()));
    addresses.push(("DELETE".to_owned(), lost.clone(), "/login".to_owned()));
    addresses.push(("GET".to_owned(), lost, "/v1/nowhere".to_owned()));
    for (method, _, path) in addresses {
        let told = send(router, &method, &path, &[], "").await;
        let header = |name: &str| {
            told.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
        };
        let policy = header("content-security-policy");
        for part in
            ["default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{method} {path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{method} {path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{method} {path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{method} {path}");
        let hsts = header("strict-transport-security");
        assert_eq!(hsts.starts_with("max-age=63072000"), secure, "{method} {path}: {hsts}");
    }
}

#[tokio::test]
async fn every_route_refuses_who_may_not_call_it_and_carries_the_headers() {
    let world = World::new().await;
    let router = routes_of(&world.store, Origin::default());
    a_key_without_scopes_is_refused_everywhere(&world, &router).await;
    every_form_of_another_site_is_refused(&world, &router).await;
    a_viewer_changes_nothing_on_any_page(&world, &router).await;
    every_answer_carries_the_headers(&router, false).await;
    let public = Origin::new(Some("https://agents.example"), 1).unwrap();
    every_answer_carries_the_headers(&routes_of(&world.store, public), true).await;
    // A failure of the server has them too.
    world.store.close().await;
    let broken = send(&router, "GET", "/v1/me", &[("authorization", "Bearer tsk_x")], "").await;
    assert_eq!(broken.status, 503);
    assert!(broken.headers.contains_key("content-security-policy"));
    world.close().await;
}

#[test]
fn a_role_and_a_key_know_the_same_scopes() {
    assert_eq!(Role::Owner.scopes(), SCOPES);
}

/// Routes whose parameter names nothing that belongs to a joint venture.
const SHARED: [&str; 2] = ["GET /v1/packs/{pack}/tools", "POST /v1/agents/{agent}/runs"];

fn assert_held(report: &Report) {
    let leaks: Vec<_> = report.leaks().collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    let all = report.unreached().into_iter();
    let unreached: Vec<&str> = all.filter(|what| !SHARED.contains(what)).collect();
    assert!(unreached.is_empty(), "tried, but nothing there could have leaked: {unreached:#?}");
}

#[tokio::test]
async fn no_route_and_no_table_shows_one_tenant_anything_of_another_and_a_dropped_policy_is_found()
{
    let world = World::new().await;
    let router = routes_of(&world.store, Origin::default());
    for (tenant, id) in [(world.one, "only-of-one"), (world.two, "only-of-two")] {
        let job = Job {
            id: id.to_owned(),
            upload: Upload::new("load.csv", *b"start,load_kw\n2026-01-01T00:00:00Z,1\n"),
            wish: Mapping::default(),
            by: "seed".to_owned(),
        };
        import(&world.store, tenant, job, &mut |_| {}).await.unwrap();
    }
    let one = Side::of(&world.store, world.one, "").await.unwrap();
    let two = Side::of(&world.store, world.two, "").await.unwrap();
    assert_held(&test(&world.store, &router, &one, &two, false).await.unwrap());

    let mut owner = world.raw(&world.address.owner).await;
    for (breach, repair, named) in [
        (
            "drop policy own_rows on run",
            "create policy own_rows on run for all to tessera_rt using (tenant_id = (select nullif(current_setting('tessera.tenant_id', true), '')::uuid)) with check (tenant_id = (select nullif(current_setting('tessera.tenant_id', true), '')::uuid))",
            "table run",
        ),
        (
            "create policy loose on approval for select to tessera_rt using (true)",
            "drop policy loose on approval",
            "table approval",
        ),
        (
            "alter table member disable row level security",
            "alter table member enable row level security",
            "table member",
        ),
    ] {
        sqlx::raw_sql(breach).execute(&mut owner).await.unwrap();
        let report = test(&world.store, &router, &one, &two, false).await.unwrap();
        assert!(report.leaks().any(|(what, _)| what == named), "{breach} was not found");
        sqlx::raw_sql(repair).execute(&mut owner).await.unwrap();
    }
    owner.close().await.unwrap();
    assert_held(&test(&world.store, &router, &one, &two, false).await.unwrap());
    // Last, since some routes make something of every name that they are called with.
    let report = test(&world.store, &router, &one, &two, true).await.unwrap();
    assert_held(&report);
    assert!(report.tries() > 500, "{} tries", report.tries());
    for side in [&one, &two] {
        side.retire(&world.store).await.unwrap();
    }
    world.close().await;
}

#[tokio::test]
async fn the_doctor_ends_with_nought_where_the_walls_hold_and_with_one_where_a_policy_is_gone() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let held = output(&folder.path(), &["doctor", "isolation"]);
    let text = String::from_utf8_lossy(&held.stdout).into_owned();
    assert!(held.status.success() && text.contains("; 0 leaks"), "{text}");
    let cluster = server::postgres::Cluster::start(
        &server::postgres::checked_folder(&folder.path()).unwrap(),
    )
    .await
    .unwrap();
    let address = cluster.address().await.unwrap();
    let mut owner = sqlx::PgConnection::connect(&address.owner).await.unwrap();
    sqlx::raw_sql("drop policy own_rows on tessera.document").execute(&mut owner).await.unwrap();
    let leaky = output(&folder.path(), &["doctor", "isolation", "--json"]);
    assert_eq!(leaky.status.code(), Some(1), "{}", String::from_utf8_lossy(&leaky.stderr));
    assert!(String::from_utf8_lossy(&leaky.stdout).contains("table document"));
    // Nobody is signed in to the joint ventures of the self-test, and none is offered.
    drop(server);
    assert!(ROUTING.contains(&"credential"));
}
