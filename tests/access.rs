//! Members, passwords, sessions and keys, as people and programs meet them.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::header::{RETRY_AFTER, SET_COOKIE};
use serde_json::{Value, json};
use server::access::Hasher;
use server::postgres::{Cluster, checked_folder};
use sqlx::{Connection as _, PgConnection};

use crate::ask::Client;
use crate::dashboard::{Browser, Page, between, signed_in};
use crate::support::{Folder, Server, output};

const PASSWORD: &str = "four words beside a harbour";

/// Connects as the owner of the database, who sees all rows.
async fn owner(data: &Path) -> PgConnection {
    let cluster = Cluster::start(&checked_folder(data).unwrap()).await.unwrap();
    let address = cluster.address().await.unwrap();
    let mut owner = PgConnection::connect(&address.owner).await.unwrap();
    sqlx::raw_sql("set search_path = tessera").execute(&mut owner).await.unwrap();
    owner
}

async fn run_sql(data: &Path, text: &'static str) {
    let mut owner = owner(data).await;
    sqlx::raw_sql(text).execute(&mut owner).await.unwrap();
    owner.close().await.unwrap();
}

fn csrf_of(page: &Page) -> String {
    between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned()
}

async fn send(client: &Client, method: &str, path: &str, body: Value) -> (u16, Value) {
    let method = method.parse().unwrap();
    let request = client.http.request(method, format!("{}{path}", client.base));
    let request = request.bearer_auth(&client.key).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// Invites a member over the API and returns its identifier and the token of the invitation.
async fn invited(client: &Client, login: &str, role: &str) -> (String, String) {
    let body = json!({ "login": login, "role": role, "organisation": "Harbour" });
    let (status, made) = send(client, "POST", "/v1/members", body).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["state"], &made["role"]), (&json!("invited"), &json!(role)));
    let token = made["invite"].as_str().unwrap().split("token=").nth(1).unwrap().to_owned();
    (made["id"].as_str().unwrap().to_owned(), token)
}

/// Uses an invitation and returns the browser that is signed in by it.
async fn joined(server: &Server, token: &str) -> Browser {
    let mut browser = Browser::new(server);
    let page = browser.get(&format!("/join?token={token}")).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let form = [("token", token), ("password", PASSWORD), ("again", PASSWORD)];
    let done = browser.post("/join", &form).await;
    assert_eq!((done.status, done.location.as_str()), (303, "/"), "{}", done.text);
    browser
}

async fn by_password(browser: &mut Browser, login: &str, password: &str) -> Page {
    let form = [("venture", "demo-finance"), ("login", login), ("password", password)];
    browser.post("/login", &form).await
}

/// Tells whether a browser is signed in to the finance demo.
async fn is_in(browser: &mut Browser) -> bool {
    browser.get("/jv/demo-finance").await.status == 200
}

#[tokio::test]
async fn a_member_is_invited_acts_within_its_role_and_its_sessions_end_with_what_they_came_from() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (ana, token) = invited(&client, "Ana@Harbour.example", "viewer").await;
    weak_passwords_are_refused(&server, &token).await;
    let mut browser = joined(&server, &token).await;
    let mut again = Browser::new(&server);
    assert_eq!(again.get(&format!("/join?token={token}")).await.status, 404, "used twice");

    // A viewer reads and changes nothing.
    let home = browser.get("/jv/demo-finance").await;
    assert!(home.status == 200 && home.text.contains("ana@harbour.example"));
    let csrf = csrf_of(&home);
    let ask = [("csrf", csrf.as_str()), ("request", "Is 2 more than 1?")];
    let refused = browser.post("/jv/demo-finance/runs", &ask).await;
    assert!(refused.status == 403 && refused.text.contains("runs:write"), "{}", refused.text);
    assert_eq!(browser.get("/jv/demo-energy").await.status, 404, "a member of one sees another");

    // The session changes at every sign-in, and the one before is dead.
    let before = browser.cookie.clone();
    let done = by_password(&mut browser, "ana@harbour.example", PASSWORD).await;
    assert_eq!(done.location, "/", "{}", done.text);
    assert_ne!(browser.cookie, before);
    let mut stale = Browser::new(&server);
    stale.cookie = before;
    assert!(!is_in(&mut stale).await, "the session of before the sign-in lives on");

    // A new role ends the sessions, and holds for the next one.
    let path = format!("/v1/members/{ana}");
    let (status, changed) = send(&client, "PATCH", &path, json!({ "role": "analyst" })).await;
    assert_eq!((status, &changed["role"]), (200, &json!("analyst")), "{changed}");
    assert!(!is_in(&mut browser).await, "a session outlived its role");
    by_password(&mut browser, "ana@harbour.example", PASSWORD).await;
    let csrf = csrf_of(&browser.get("/jv/demo-finance").await);
    let ask = [("csrf", csrf.as_str()), ("request", "Is 2 more than 1?")];
    assert_eq!(browser.post("/jv/demo-finance/runs", &ask).await.status, 303);

    // A new password ends every other session.
    let mut other = Browser::new(&server);
    by_password(&mut other, "ana@harbour.example", PASSWORD).await;
    assert!(is_in(&mut other).await);
    let new = "seven grey gulls on a mast";
    let wrong = [("csrf", csrf.as_str()), ("current", "x"), ("password", new), ("again", new)];
    assert_eq!(browser.post("/jv/demo-finance/access/password", &wrong).await.status, 422);
    let form = [("csrf", csrf.as_str()), ("current", PASSWORD), ("password", new), ("again", new)];
    let done = browser.post("/jv/demo-finance/access/password", &form).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert!(is_in(&mut browser).await && !is_in(&mut other).await);
    let old = by_password(&mut other, "ana@harbour.example", PASSWORD).await;
    assert_eq!(old.status, 401);

    // Signing out ends the session on the server, not only in the browser.
    let kept = browser.cookie.clone();
    let csrf = csrf_of(&browser.get("/jv/demo-finance").await);
    browser.post("/logout", &[("csrf", &csrf)]).await;
    browser.cookie = kept;
    assert!(!is_in(&mut browser).await, "a session outlived its sign-out");

    // Disabling ends all, and a key of the member with it.
    by_password(&mut browser, "ana@harbour.example", new).await;
    let body = json!({ "label": "ana's script", "member": ana });
    let (status, key) = send(&client, "POST", "/v1/keys", body).await;
    assert_eq!(status, 201, "{key}");
    assert_eq!(key["scopes"], json!(["runs:read", "runs:write", "data:write"]));
    let script = Client {
        http: client.http.clone(),
        base: client.base.clone(),
        key: key["secret"].as_str().unwrap().to_owned(),
    };
    assert_eq!(script.get("/v1/me").await.1["actor"]["id"], json!(format!("member:{ana}")));
    send(&client, "PATCH", &path, json!({ "disabled": true })).await;
    assert!(!is_in(&mut browser).await, "a disabled member is signed in");
    assert_eq!(script.get("/v1/me").await.0, 401);
    assert_eq!(by_password(&mut browser, "ana@harbour.example", new).await.status, 401);
}

async fn weak_passwords_are_refused(server: &Server, token: &str) {
    let mut browser = Browser::new(server);
    for (password, again) in
        [("short", "short"), ("Password1234!", "Password1234!"), (PASSWORD, "another one here")]
    {
        let form = [("token", token), ("password", password), ("again", again)];
        let refused = browser.post("/join", &form).await;
        assert_eq!(refused.status, 422, "{password}");
        assert!(!refused.text.contains(password) || password == "short");
    }
}

#[tokio::test]
async fn a_session_ends_when_idle_and_at_its_last_hour_and_a_person_ends_it_from_the_list() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (_, token) = invited(&client, "ana", "analyst").await;
    let mut browser = joined(&server, &token).await;
    for ends in [
        "update session set seen_at = now() - interval '121 minutes' where subject = 'ana'",
        "update session set expires_at = now() where subject = 'ana'",
    ] {
        assert!(is_in(&mut browser).await);
        run_sql(&folder.path(), ends).await;
        assert!(!is_in(&mut browser).await, "{ends}");
        assert_eq!(by_password(&mut browser, "ana", PASSWORD).await.location, "/");
    }
    let mut phone = Browser::new(&server);
    by_password(&mut phone, "ana", PASSWORD).await;
    let page = browser.get("/jv/demo-finance/access").await;
    assert!(page.text.contains("this one") && !page.text.contains("API keys"));
    let lines: Vec<&str> = page.text.split("/access/sessions/").skip(1).collect();
    assert_eq!(lines.len(), 2, "one's own sessions and no others");
    let csrf = csrf_of(&page);
    // The newest is the phone's.
    let phones = lines[0].split('"').next().unwrap();
    let path = format!("/jv/demo-finance/access/sessions/{phones}");
    assert_eq!(browser.post(&path, &[("csrf", &csrf)]).await.status, 303);
    assert!(is_in(&mut browser).await && !is_in(&mut phone).await);
    // Another's may be ended by an owner alone.
    let (_, sessions) = client.get("/v1/sessions").await;
    let mine = sessions["sessions"][0]["id"].as_str().unwrap();
    let (_, bob) = invited(&client, "bob", "operator").await;
    let mut bob = joined(&server, &bob).await;
    let csrf = csrf_of(&bob.get("/jv/demo-finance/access").await);
    let path = format!("/jv/demo-finance/access/sessions/{mine}");
    assert_eq!(bob.post(&path, &[("csrf", &csrf)]).await.status, 403);
    assert_eq!(send(&client, "DELETE", &format!("/v1/sessions/{mine}"), json!({})).await.0, 204);
    assert!(!is_in(&mut browser).await);
}

#[tokio::test]
async fn the_database_holds_no_secret_and_cookies_are_bound_to_a_public_address() {
    let folder = Folder::new();
    let arguments = ["--public-url", "https://agents.example", "--proxies", "1"];
    let server = Server::start_with(&folder.path(), &arguments);
    let client = Client::of(&server, "finance");
    let (_, token) = invited(&client, "ana", "owner").await;
    let (_, unused) = invited(&client, "bob", "viewer").await;
    let answer = Browser::new(&server)
        .http
        .post(format!("{}/join", client.base))
        .header("origin", "https://agents.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "token={token}&password={}&again={}",
            PASSWORD.replace(' ', "+"),
            PASSWORD.replace(' ', "+")
        ))
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["__Host-tessera=tss_", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
    assert!(answer.headers()["strict-transport-security"].to_str().unwrap().contains("63072000"));
    let (_, made) = send(&client, "POST", "/v1/keys", json!({ "label": "one" })).await;

    let mut owner = owner(&folder.path()).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'tessera'::regnamespace and relkind = 'r'",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let secret = cookie.split(['=', ';']).nth(1).unwrap();
    let link = server.said.iter().find_map(|line| line.split("token=").nth(1)).unwrap();
    let mut secrets = vec![secret, token.as_str(), &unused, PASSWORD, &client.key];
    secrets.extend(link.split('.'));
    secrets.push(made["secret"].as_str().unwrap());
    for table in tables {
        let text = format!("select coalesce(string_agg(t::text, ' '), '') from {table} t");
        let dump: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&mut owner).await.unwrap();
        for secret in &secrets {
            let bare = secret.split_once('_').map_or(*secret, |(_, bare)| bare);
            assert!(!dump.contains(bare), "{table} holds a secret");
        }
    }
    owner.close().await.unwrap();
}

#[tokio::test]
async fn a_key_is_shown_once_limited_by_scopes_rotated_with_overlap_and_revoked_at_once() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let with = |secret: &Value| Client {
        http: client.http.clone(),
        base: client.base.clone(),
        key: secret.as_str().unwrap().to_owned(),
    };
    let service = json!({ "login": "erp", "role": "operator", "kind": "service" });
    let (_, erp) = send(&client, "POST", "/v1/members", service).await;
    assert!(erp["invite"].is_null() && erp["state"] == "active", "{erp}");
    let body = json!({ "label": "ERP", "scopes": ["runs:read", "access:read"], "days": 30, "member": erp["id"] });
    let (status, made) = send(&client, "POST", "/v1/keys", body).await;
    assert_eq!(status, 201, "{made}");
    let first = with(&made["secret"]);
    assert!(made["secret"].as_str().unwrap().starts_with(made["prefix"].as_str().unwrap()));
    let (_, me) = first.get("/v1/me").await;
    assert_eq!(me["actor"]["kind"], "service");
    assert_eq!(
        (&me["actor"]["subject"], &me["actor"]["role"]),
        (&json!("erp"), &json!("operator"))
    );
    let (_, list) = client.get("/v1/keys").await;
    assert!(!list.to_string().contains(first.key.as_str()), "a secret was shown twice");
    assert!(
        list["keys"][0]["last_used_at"].is_string() && list["keys"][0]["expires_at"].is_string()
    );

    // What the scopes lack is refused, and nobody gives what they do not hold.
    let (status, problem) = first.post("/v1/agents/finance/runs", r#"{"request": "x"}"#).await;
    assert_eq!((status, &problem["code"]), (403, &json!("missing_scope")));
    let (_, partly) =
        send(&client, "POST", "/v1/keys", json!({ "label": "a", "scopes": ["access:write"] }))
            .await;
    let partly = with(&partly["secret"]);
    for (path, body) in [
        ("/v1/keys", json!({ "label": "b", "scopes": ["runs:write"] })),
        ("/v1/members", json!({ "login": "mallory", "role": "owner" })),
    ] {
        let (status, problem) = send(&partly, "POST", path, body).await;
        assert_eq!((status, &problem["code"]), (403, &json!("missing_scope")), "{path}");
    }
    let unknown = json!({ "label": "c", "scopes": ["runs:everything"] });
    assert_eq!(send(&client, "POST", "/v1/keys", unknown).await.1["code"], "invalid_scope");

    // Two are valid until the grace ends.
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/keys/{id}/rotate");
    let (status, next) = send(&client, "POST", &path, json!({ "grace_hours": 1 })).await;
    assert_eq!((status, &next["scopes"]), (201, &json!(["runs:read", "access:read"])), "{next}");
    let second = with(&next["secret"]);
    assert_eq!((first.get("/v1/me").await.0, second.get("/v1/me").await.0), (200, 200));
    assert_eq!(client.get(&format!("/v1/keys/{id}")).await.1["successor"], next["id"]);
    assert_eq!(send(&client, "POST", &path, json!({})).await.0, 409, "rotated twice");
    run_sql(&folder.path(), "update api_key set expires_at = now() where successor is not null")
        .await;
    assert_eq!((first.get("/v1/me").await.0, second.get("/v1/me").await.0), (401, 200));
    let next = next["id"].as_str().unwrap();

    // A session made from a key ends with it.
    let mut browser = Browser::new(&server);
    browser.post("/login", &[("key", &second.key)]).await;
    assert!(is_in(&mut browser).await);
    let gone = Instant::now();
    assert_eq!(send(&client, "DELETE", &format!("/v1/keys/{next}"), json!({})).await.0, 204);
    assert_eq!(second.get("/v1/me").await.0, 401);
    assert!(!is_in(&mut browser).await, "a session outlived its key");
    assert!(gone.elapsed() < Duration::from_secs(5));
    assert_eq!(send(&client, "DELETE", &format!("/v1/keys/{next}"), json!({})).await.0, 404);

    // A role that is lowered lowers the keys made before.
    let (_, wide) =
        send(&client, "POST", "/v1/keys", json!({ "label": "d", "member": erp["id"] })).await;
    let wide = with(&wide["secret"]);
    assert_eq!(wide.get("/v1/members").await.0, 200);
    let path = format!("/v1/members/{}", erp["id"].as_str().unwrap());
    send(&client, "PATCH", &path, json!({ "role": "viewer" })).await;
    assert_eq!(wide.get("/v1/members").await.0, 403);
    assert_eq!(wide.get("/v1/runs").await.0, 200);
}

#[tokio::test]
async fn the_last_owner_stays_and_the_command_line_does_what_the_api_does() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let run = |arguments: &[&str]| {
        let done = output(&folder.path(), arguments);
        (done.status.code(), String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let (code, link) = run(&["member", "invite", "demo-finance", "ana", "--role", "owner"]);
    assert_eq!(code, Some(0));
    let token = link.split("token=").nth(1).unwrap().to_owned();
    let mut ana = joined(&server, &token).await;
    let page = ana.get("/jv/demo-finance/access").await;
    for part in ["Members", "API keys", "Make a key", "demo"] {
        assert!(page.text.contains(part), "{part}");
    }
    let csrf = csrf_of(&page);
    let id = between(&page.text, "/access/members/", "\"").to_owned();
    let path = format!("/jv/demo-finance/access/members/{id}");
    let last = ana.post(&path, &[("csrf", &csrf), ("do", "disable"), ("role", "owner")]).await;
    assert!(last.status == 409 && last.text.contains("last owner"), "{}", last.text);

    let form =
        [("csrf", csrf.as_str()), ("login", "bob"), ("role", "approver"), ("kind", "person")];
    let made = ana.post("/jv/demo-finance/access/members", &form).await;
    assert!(made.status == 200 && made.text.contains("/join?token=tsi_"), "{}", made.text);
    let taken = ana.post("/jv/demo-finance/access/members", &form).await;
    assert!(taken.status == 409 && taken.text.contains("there is a member"), "{}", taken.text);
    let form =
        [("csrf", csrf.as_str()), ("label", "tool"), ("scope:runs:read", "on"), ("days", "7")];
    let made = ana.post("/jv/demo-finance/access/keys", &form).await;
    let key = between(&made.text, "<code>tsk_", "</code>");
    let client = Client::of(&server, "finance");
    let tool =
        Client { http: client.http.clone(), base: client.base.clone(), key: format!("tsk_{key}") };
    assert_eq!(tool.get("/v1/me").await.1["scopes"], json!(["runs:read"]));

    let (code, list) = run(&["member", "list", "demo-finance"]);
    assert!(code == Some(0) && list.contains("bob\tapprover\tinvited"), "{list}");
    assert_eq!(run(&["member", "role", "demo-finance", "bob", "emperor"]).0, Some(2));
    assert_eq!(run(&["member", "role", "demo-finance", "bob", "analyst"]).0, Some(0));
    assert_eq!(run(&["member", "disable", "demo-finance", "nobody"]).0, Some(2));
    let (_, secret) =
        run(&["key", "new", "demo-finance", "--scope", "runs:read,data:write", "--member", "bob"]);
    let script = Client { http: client.http.clone(), base: client.base.clone(), key: secret };
    let (_, me) = script.get("/v1/me").await;
    assert_eq!(me["actor"]["subject"], "bob", "{me}");
    assert_eq!(run(&["member", "disable", "demo-finance", "bob"]).0, Some(0));
    assert_eq!(script.get("/v1/me").await.0, 401);
}

#[tokio::test]
async fn guesses_are_slowed_by_account_and_address_whatever_they_say_of_where_they_come_from() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (_, token) = invited(&client, "ana", "analyst").await;
    joined(&server, &token).await;
    let guess = async |login: &str, from: &str| {
        let answer = client
            .http
            .post(format!("{}/login", client.base))
            .header("x-forwarded-for", from)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("venture=demo-finance&login={login}&password=wrong+wrong+wrong"))
            .send()
            .await
            .unwrap();
        let wait = answer.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned());
        (answer.status().as_u16(), wait, answer.text().await.unwrap())
    };
    let mut seen = Vec::new();
    for at in 0..6 {
        seen.push(guess("ana", &format!("203.0.113.{at}")).await);
    }
    let statuses: Vec<u16> = seen.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429], "a spoofed address evades the limit");
    assert!(seen[5].1.as_ref().is_some_and(|wait| (1..=6).contains(&wait.parse::<u32>().unwrap())));
    // The right password has to wait too: else the wait would tell when a guess was right.
    let mut browser = Browser::new(&server);
    assert_eq!(by_password(&mut browser, "ana", PASSWORD).await.status, 429);
    // An unknown name is answered, and slowed, as a known one is.
    let mut unknown = Vec::new();
    for _ in 0..6 {
        unknown.push(guess("eva", "198.51.100.7").await);
    }
    for (known, other) in seen.iter().zip(&unknown).take(5) {
        assert_eq!(known.0, other.0);
        assert_eq!(known.2.replace("\"ana\"", "*"), other.2.replace("\"eva\"", "*"));
    }
    assert_eq!(unknown[5].0, 429);
    // The address has a limit of its own, over all accounts.
    let mut last = 0;
    for at in 0..40 {
        last = guess(&format!("nobody{at}"), &format!("192.0.2.{at}")).await.0;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429, "one address may guess on for ever");
    run_sql(&folder.path(), "delete from sign_in_throttle").await;
    // A right one forgets the wrong ones before it.
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(guess("ana", "x").await.0, 401);
        }
        assert_eq!(by_password(&mut browser, "ana", PASSWORD).await.location, "/");
    }
    // A one-time link still gets the owner in.
    signed_in(&server).await;
}

#[tokio::test]
async fn a_key_that_calls_too_often_is_told_to_wait_and_another_is_not() {
    let folder = Folder::new();
    let server = Server::start_with(&folder.path(), &["--rate-limit", "6"]);
    let client = Client::of(&server, "finance");
    let call = async |client: &Client| {
        let request = client.http.get(format!("{}/v1/runs", client.base)).bearer_auth(&client.key);
        request.send().await.unwrap()
    };
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).unwrap().to_str().unwrap().to_owned()
    };
    for left in (0..6).rev() {
        let answer = call(&client).await;
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"key\";q=6;w=60");
        let start = format!("\"key\";r={left};t=");
        assert!(header(&answer, "ratelimit").starts_with(&start), "{answer:?}");
    }
    let answer = call(&client).await;
    assert_eq!(answer.status().as_u16(), 429);
    let wait: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "rate_limited", "{problem}");
    let other = client.another(&folder.path(), "demo-finance", "other");
    assert_eq!(call(&other).await.status().as_u16(), 200);
    // Who waits as long gets through.
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    assert_eq!(call(&client).await.status().as_u16(), 200);
    // A wrong key is counted for nobody.
    let wrong = Client { key: "tsk_wrong".to_owned(), ..other };
    assert_eq!(call(&wrong).await.status().as_u16(), 401);
}

#[tokio::test]
async fn what_is_changed_of_members_keys_switches_and_budgets_stands_in_the_audit_chain() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (member, _) = invited(&client, "bob@harbour.example", "viewer").await;
    let path = format!("/v1/members/{member}");
    assert_eq!(send(&client, "PATCH", &path, json!({ "role": "analyst" })).await.0, 200);
    assert_eq!(send(&client, "POST", &format!("{path}/invite"), json!({})).await.0, 201);
    let (_, key) = send(&client, "POST", "/v1/keys", json!({ "label": "ERP" })).await;
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    let rotated = send(&client, "POST", &format!("{path}/rotate"), json!({})).await;
    assert!(rotated.0 < 300, "{}", rotated.1);
    assert_eq!(send(&client, "DELETE", &path, json!({})).await.0, 204);
    let switch = json!({"scope": "tool", "name": "never", "off": true, "why": "a secret reason"});
    assert_eq!(send(&client, "PUT", "/v1/switches", switch).await.0, 200);
    let budget = json!({"resource": "calls", "period": "day", "limit": 9});
    let (status, budget) = send(&client, "PUT", "/v1/budgets", budget).await;
    assert_eq!(status, 200, "{budget}");
    let path = format!("/v1/budgets/{}", budget["id"].as_str().unwrap());
    assert_eq!(send(&client, "DELETE", &path, json!({})).await.0, 204);
    assert_eq!(
        send(&client, "PUT", "/v1/prices", json!({"item": "call", "micros": 5})).await.0,
        200
    );
    let chain = client.get("/v1/audit?limit=20").await.1;
    let entries = chain["entries"].as_array().unwrap();
    let kinds: Vec<&str> = entries.iter().take(9).map(|e| e["kind"].as_str().unwrap()).collect();
    let expected = [
        "price.set",
        "budget.removed",
        "budget.set",
        "switch.set",
        "key.revoked",
        "key.rotated",
        "key.made",
        "member.invited",
        "member.changed",
    ];
    assert_eq!(kinds, expected, "{chain}");
    assert_eq!(entries[9]["kind"], "member.added");
    assert_eq!(entries[8]["detail"]["role"], "analyst");
    // A chain is never rewritten: no name of a person and nothing that somebody wrote is in it.
    let text = chain.to_string();
    assert!(!text.contains("bob@") && !text.contains("secret reason"), "{text}");
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_to_refuse_as_a_wrong_password() {
    let hasher = Hasher::default();
    let stored = hasher.hash("a long enough password").await.unwrap();
    // The first one also makes the hash that stands for nobody.
    drop(hasher.verify("x", None).await);
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        for (stored, times) in [(Some(stored.as_str()), &mut known), (None, &mut unknown)] {
            let begun = Instant::now();
            assert!(!hasher.verify("wrong password", stored).await.unwrap());
            times.push(begun.elapsed());
        }
    }
    // The medians of turns that alternate: a busy machine slows both alike. A check that was left
    // out would take a thousandth.
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (known, unknown) = (median(&mut known), median(&mut unknown));
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "known {known:?}, unknown {unknown:?}");
}
