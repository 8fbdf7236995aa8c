//! Approvals: bound to exactly what runs, decided by who may, and never twice.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use server::postgres::{Cluster, checked_folder};
use server::store::{NewApproval, StoreError};
use sqlx::Connection as _;

use crate::ask::Client;
use crate::support::{Folder, Server, output};
use crate::tenancy::{World, new_run};

const REFUND: &str = "Refund 14.99 on order ord-6001, bought by accident.";

async fn asked(client: &Client) -> (String, Value) {
    let run = client.ask("gaming", REFUND).await;
    assert_eq!(run["status"], "waiting_approval", "{run:#}");
    let id = run["id"].as_str().unwrap().to_owned();
    let waiting = client.get("/v1/approvals").await.1;
    let mine = waiting["approvals"].as_array().unwrap().iter().find(|a| a["run"] == id.as_str());
    (id, mine.unwrap().clone())
}

async fn decide(client: &Client, approval: &Value, approved: bool) -> (u16, Value) {
    let path = format!("/v1/approvals/{}?wait=30", approval["id"].as_str().unwrap());
    client.post(&path, json!({ "approved": approved, "reason": "looked" }).to_string()).await
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_decision_wants_another_person_who_may_and_above_a_limit_two_and_holds_once() {
    let folder = Folder::new();
    let data = folder.path();
    let mut server = Server::start(&data);
    let client = Client::of(&server, "gaming");
    let other_venture = Client::of(&server, "finance");
    let (ann, ben) =
        (client.another(&data, "demo-gaming", "ann"), client.another(&data, "demo-gaming", "ben"));

    let (_, first) = asked(&client).await;
    assert_eq!(first["approvers"], 1);
    assert_eq!(first["tool_version"].as_str().unwrap().len(), 16);
    let origins = first["origins"].as_array().unwrap();
    assert!(origins.iter().any(|o| o["from"] == "request" && o["text"] == "14.99"), "{first:#}");
    assert_eq!(code(&decide(&client, &first, true).await), (403, "self_approval"));
    assert_eq!(decide(&other_venture, &first, true).await.0, 404, "another joint venture");
    assert_eq!(decide(&ann, &first, true).await.1["status"], "done");
    assert_eq!(code(&decide(&ben, &first, true).await), (409, "conflict"), "a second use");

    // Above a limit two different people must agree.
    let rule =
        json!({"tool": "refund_request", "argument": "amount", "above": "10", "approvers": 2});
    let (status, rule) = client.post("/v1/approval-rules", rule.to_string()).await;
    assert_eq!(status, 201, "{rule}");
    let (run, second) = asked(&client).await;
    assert_eq!(second["approvers"], 2);
    let (status, view) = decide(&ann, &second, true).await;
    assert_eq!((status, &view["status"]), (200, &json!("waiting_approval")), "{view}");
    assert_eq!(
        code(&decide(&ann, &second, true).await),
        (409, "conflict"),
        "one person is not two"
    );

    // What one person decided survives a restart, and the second decision ends it.
    assert_eq!(server.stop(), Some(0));
    server = Server::start(&data);
    let at = |client: &Client| Client {
        http: client.http.clone(),
        base: format!("http://{}", server.address),
        key: client.key.clone(),
    };
    let (client, ann, ben) = (at(&client), at(&ann), at(&ben));
    assert_eq!(client.get(&format!("/v1/runs/{run}")).await.1["status"], "waiting_approval");
    let (status, done) = decide(&ben, &second, true).await;
    assert_eq!((status, &done["status"]), (200, &json!("done")), "{done:#}");
    assert_eq!(done["calls"][0]["decided_by"], "ann and ben");

    // One who turns it down is enough.
    let (_, third) = asked(&client).await;
    assert_eq!(decide(&ann, &third, false).await.1["status"], "refused");
    let (_, chain) = client.get("/v1/audit?q=approval.decided").await;
    let entries = chain["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "{chain:#}");
    assert_eq!(entries[1]["detail"]["agreed"], 2);
    assert_eq!(entries[0]["subject"], "ann");
}

#[tokio::test]
async fn a_signed_link_decides_once_and_a_changed_one_never() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let ann = client.another(&folder.path(), "demo-gaming", "ann");
    let (run, approval) = asked(&client).await;
    let id = approval["id"].as_str().unwrap();
    let (status, made) = ann.post(&format!("/v1/approvals/{id}/link"), r#"{"minutes": 5}"#).await;
    assert_eq!(status, 201, "{made}");
    let path = made["path"].as_str().unwrap();
    let page = client.http.get(format!("{}{path}", client.base)).send().await.unwrap();
    let text = page.text().await.unwrap();
    assert!(text.contains("14.99") && text.contains("ann") && text.contains("“14.99”"), "{text}");
    let press = async |path: &str| {
        let form = client.http.post(format!("{}{path}", client.base));
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        form.body("decision=approve&reason=seen").send().await.unwrap().status().as_u16()
    };
    assert_eq!(press(&format!("{path}x")).await, 404, "a changed signature");
    let (head, tail) = path.split_at(path.len() / 3);
    assert_eq!(press(&format!("{head}A{}", &tail[1..])).await, 404, "a changed claim");
    assert_eq!(press(path).await, 200);
    assert_eq!(press(path).await, 409, "a second use");
    let mut view = Value::Null;
    for _ in 0..200 {
        view = client.get(&format!("/v1/runs/{run}")).await.1;
        if view["status"] == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(view["calls"][0]["decided_by"], "ann", "{view:#}");

    // A link of whoever asked is worth no more than they are.
    let (_, approval) = asked(&client).await;
    let id = approval["id"].as_str().unwrap();
    let (_, made) = client.post(&format!("/v1/approvals/{id}/link"), "{}").await;
    assert_eq!(press(made["path"].as_str().unwrap()).await, 403);
}

#[tokio::test]
async fn an_approval_is_bound_to_arguments_tool_version_and_tenant_in_the_store_too() {
    let world = World::new().await;
    let store = &world.store;
    let mut tx = store.begin(world.one).await.unwrap();
    let (run, _) = tx.create_run(&new_run("bound", "pay")).await.unwrap();
    let arguments = json!({"amount": "82000"});
    let ask = |version: &str, amount: &str| NewApproval {
        tool: "pay".to_owned(),
        arguments: json!({ "amount": amount }),
        arguments_sha256: agents::tool::arguments_sha256(&json!({ "amount": amount })),
        because: "act".to_owned(),
        tool_version: version.to_owned(),
        ..NewApproval::default()
    };
    tx.request_approval(run, &ask("v1", "82000")).await.unwrap();
    tx.request_approval(run, &ask("v1", "82000")).await.unwrap();
    let of_run = |all: Vec<server::store::Approval>| {
        all.into_iter().filter(|a| a.run_id == run).collect::<Vec<_>>()
    };
    let first = of_run(tx.approvals(true).await.unwrap());
    assert_eq!(first.len(), 1, "asking twice is asking once");
    assert_eq!(first[0].arguments, arguments);
    // Other arguments, then another version: each is another question, and takes the earlier back.
    tx.request_approval(run, &ask("v1", "820000")).await.unwrap();
    let second = of_run(tx.approvals(true).await.unwrap());
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].binding_sha256, first[0].binding_sha256);
    let late = tx.decide_approval(first[0].id, true, "ann", "").await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "the question of before was approved");
    tx.request_approval(run, &ask("v2", "820000")).await.unwrap();
    let third = of_run(tx.approvals(true).await.unwrap());
    assert_ne!(third[0].binding_sha256, second[0].binding_sha256);
    tx.commit().await.unwrap();
    let mut tx = store.begin(world.two).await.unwrap();
    let foreign = tx.decide_approval(third[0].id, true, "eve", "").await;
    assert!(matches!(foreign, Err(StoreError::NotFound("approval"))), "another joint venture");
    drop(tx);

    // An approval that has expired cannot be given any more.
    let mut owner = world.raw(&world.address.owner).await;
    let mut raw = owner.begin().await.unwrap();
    for statement in [
        "alter table approval no force row level security",
        "update approval set expires_at = now() - interval '1 second' where status = 'pending'",
        "alter table approval force row level security",
    ] {
        sqlx::query(statement).execute(&mut *raw).await.unwrap();
    }
    raw.commit().await.unwrap();
    let mut tx = store.begin(world.one).await.unwrap();
    let late = tx.decide_approval(third[0].id, true, "ann", "").await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "an expired approval was given");
    drop(tx);
    world.close().await;
}

#[tokio::test]
async fn a_right_to_approve_is_lent_for_a_time_and_two_votes_of_one_right_are_one() {
    let world = World::new().await;
    let store = &world.store;
    let mut tx = store.begin(world.one).await.unwrap();
    let giver = ("member:ann", "ann", "approver");
    let lent = tx.delegate(giver, "member:cleo", "on holiday", 1).await.unwrap();
    assert_eq!(tx.delegations(Some("member:cleo")).await.unwrap().len(), 1);
    assert_eq!(tx.delegations(Some("member:dan")).await.unwrap().len(), 0);
    tx.end_delegation(lent).await.unwrap();
    assert_eq!(tx.delegations(Some("member:cleo")).await.unwrap().len(), 0);
    assert!(matches!(tx.end_delegation(lent).await, Err(StoreError::NotFound(_))));
    tx.delegate(giver, "member:cleo", "on holiday", 0).await.unwrap();
    assert_eq!(tx.delegations(Some("member:cleo")).await.unwrap().len(), 0, "it has ended");
    let approval = tx.approvals(true).await.unwrap()[0].id;
    let vote = |voter: &str, authority: &str| server::store::Vote {
        voter: voter.to_owned(),
        subject: voter.to_owned(),
        authority: authority.to_owned(),
        role: "approver".to_owned(),
        approved: true,
        reason: String::new(),
        via: "api".to_owned(),
        binding_sha256: String::new(),
    };
    tx.add_vote(approval, &vote("member:cleo", "member:zoe")).await.unwrap();
    let again = tx.add_vote(approval, &vote("member:zoe", "member:zoe")).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "the same right was used twice");
    drop(tx);
    world.close().await;
}

/// Makes a service account and returns its identifier and a client that acts as it.
async fn service(client: &Client, data: &Path, login: &str, role: &str) -> (String, Client) {
    let invite = ["member", "invite", "demo-gaming", login, "--service", "--role", role];
    assert!(output(data, &invite).status.success());
    let made = output(data, &["key", "new", "demo-gaming", "--member", login]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let members = client.get("/v1/members").await.1;
    let mut members = members["members"].as_array().unwrap().iter();
    let id = members.find(|one| one["login"] == login).unwrap()["id"].as_str().unwrap().to_owned();
    let client = Client { http: client.http.clone(), base: client.base.clone(), key };
    (format!("member:{id}"), client)
}

#[tokio::test]
async fn a_right_that_is_lent_decides_for_its_giver_once_and_ends_with_them() {
    let folder = Folder::new();
    let data = folder.path();
    let server = Server::start(&data);
    let client = Client::of(&server, "gaming");
    let rule = json!({"tool": "refund_request", "argument": "amount", "above": "10",
                      "approvers": 2, "roles": ["owner"]});
    let (status, rule) = client.post("/v1/approval-rules", rule.to_string()).await;
    assert_eq!(status, 201, "{rule}");
    let (ann_id, ann) = service(&client, &data, "ann", "owner").await;
    let (_, ben) = service(&client, &data, "ben", "owner").await;
    let (cleo_id, cleo) = service(&client, &data, "cleo", "approver").await;
    let (_, first) = asked(&client).await;
    assert_eq!(code(&decide(&cleo, &first, true).await), (403, "wrong_role"), "it is not hers");
    let lend = json!({"to": cleo_id, "hours": 1, "reason": "on holiday"}).to_string();
    let (status, lent) = ann.post("/v1/delegations", lend.clone()).await;
    assert_eq!(status, 201, "{lent}");
    let (status, view) = decide(&cleo, &first, true).await;
    assert_eq!((status, &view["status"]), (200, &json!("waiting_approval")), "{view:#}");
    // Ann and who acts with her right are one, not two.
    assert_eq!(code(&decide(&ann, &first, true).await), (409, "conflict"));
    assert_eq!(decide(&ben, &first, true).await.1["status"], "done");
    let (_, chain) = client.get("/v1/audit?q=approval.voted").await;
    let vote = &chain["entries"][0];
    assert_eq!((&vote["actor"], &vote["detail"]["authority"]), (&json!(cleo_id), &json!(ann_id)));
    // Once it is taken back, or whoever gave it is disabled, it is worth nothing.
    let (_, second) = asked(&client).await;
    let end = format!("{}/v1/delegations/{}", client.base, lent["id"].as_str().unwrap());
    let ended = client.http.delete(end).bearer_auth(&ann.key).send().await.unwrap();
    assert_eq!(ended.status().as_u16(), 204);
    assert_eq!(code(&decide(&cleo, &second, true).await), (403, "wrong_role"), "taken back");
    assert_eq!(ann.post("/v1/delegations", lend).await.0, 201);
    assert!(output(&data, &["member", "disable", "demo-gaming", "ann"]).status.success());
    assert_eq!(code(&decide(&cleo, &second, true).await), (403, "wrong_role"), "disabled");
}

#[tokio::test]
async fn a_tool_that_changed_is_asked_about_again_and_the_old_question_decides_nothing() {
    let folder = Folder::new();
    let data = folder.path();
    let server = Server::start(&data);
    let client = Client::of(&server, "gaming");
    let ann = client.another(&data, "demo-gaming", "ann");
    let (run, first) = asked(&client).await;
    assert_eq!(server.stop(), Some(0));
    // As if an earlier version of the program had asked, whose tool was another.
    let cluster = Cluster::start(&checked_folder(&data).unwrap()).await.unwrap();
    let address = cluster.address().await.unwrap();
    let mut owner = sqlx::PgConnection::connect(&address.owner).await.unwrap();
    let (tenant, hash): (uuid::Uuid, String) = sqlx::query_as(
        "select tenant_id, arguments_sha256 from tessera.approval where status = 'pending'",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    let bound = agents::policy::terms::binding_sha256(
        &tenant.to_string(),
        &run,
        0,
        ("refund_request", "an earlier one"),
        &hash,
    );
    for (update, value) in [
        (
            "update tessera.approval set tool_version = 'an earlier one', binding_sha256 = $1 where status = 'pending'",
            bound,
        ),
        (
            "update tessera.run_event set payload = jsonb_set(payload, '{tool_version}', to_jsonb($1::text)) where type = 'approval.requested'",
            "an earlier one".to_owned(),
        ),
    ] {
        let done = sqlx::query(update).bind(value).execute(&mut owner).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{update}");
    }
    owner.close().await.unwrap();
    cluster.stop().await.unwrap();
    let server = Server::start(&data);
    let at = |client: &Client| Client {
        http: client.http.clone(),
        base: format!("http://{}", server.address),
        key: client.key.clone(),
    };
    let (client, ann) = (at(&client), at(&ann));
    assert_eq!(code(&decide(&ann, &first, true).await), (409, "tool_changed"));
    let mut again = Value::Null;
    for _ in 0..200 {
        let waiting = client.get("/v1/approvals").await.1;
        again = waiting["approvals"][0].clone();
        if again["tool_version"] == first["tool_version"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(again["tool_version"], first["tool_version"], "nothing was asked again: {again:#}");
    assert_ne!(again["id"], first["id"]);
    assert_eq!(code(&decide(&ann, &first, true).await), (409, "conflict"), "the old question");
    assert_eq!(decide(&ann, &again, true).await.1["status"], "done");
}
