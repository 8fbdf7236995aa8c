//! Datasets from the file to the tool: over HTTP, on the command line, on the pages, and in the store.

use std::io::{Read as _, Write as _};

use agents::dataset::Mapping;
use agents::port::DatasetSource as _;
use agents::tool::Window;
use serde_json::{Value, json};
use server::dataset::{ImportError, Job, Upload, import};
use server::host::Host;
use server::store::{StoreError, TenantId};
use tokio::runtime::Handle;

use crate::ask::Client;
use crate::dashboard::{between, signed_in};
use crate::support::{Folder, Server, output};
use crate::tenancy::World;

/// Quarter hours of two meters in local time, one cell and one line at fault.
fn meters() -> String {
    let mut text = "Date/Time,Meter ID,Usage (Wh)\n".to_owned();
    for quarter in 0..96 {
        for meter in ["M-1", "M-2"] {
            let value = match quarter {
                7 if meter == "M-1" => "many".to_owned(),
                _ => format!("{}", 100 + quarter),
            };
            text.push_str(&format!(
                "03.02.2026 {:02}:{:02},{meter},{value}\n",
                quarter / 4,
                quarter % 4 * 15
            ));
        }
    }
    text.push_str("04.02.2026 00:00,M-1\n");
    text
}

async fn send(client: &Client, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = client.http.post(format!("{}{path}", client.base)).bearer_auth(&client.key);
    let answer = request.header("content-type", "text/csv").body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn remove(client: &Client, path: &str) -> u16 {
    let request = client.http.delete(format!("{}{path}", client.base)).bearer_auth(&client.key);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_file_is_previewed_imported_once_mapped_anew_restored_deleted_and_purged_over_http() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "energy");
    let zone = "mapping=%7B%22timezone%22%3A%22Asia%2FTaipei%22%7D";

    let (status, seen) =
        send(&client, &format!("/v1/datasets/meters?preview=true&{zone}"), meters()).await;
    assert_eq!(status, 200, "{seen:#}");
    let names: Vec<&str> = seen["mapping"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["start", "site_id", "energy_kwh"]);
    assert_eq!((&seen["report"]["rows"], &seen["report"]["refused"]), (&json!(191), &json!(2)));
    assert_eq!(client.get("/v1/datasets/meters").await.0, 404, "a preview stored something");

    let (status, made) =
        send(&client, &format!("/v1/datasets/meters?{zone}&name=m.csv"), meters()).await;
    assert_eq!(
        (status, &made["version"], &made["rows"]),
        (201, &json!(1), &json!(191)),
        "{made:#}"
    );
    let (status, again) = send(&client, &format!("/v1/datasets/meters?{zone}"), meters()).await;
    assert_eq!((status, &again["repeated"], &again["version"]), (200, &json!(true), &json!(1)));
    // What was confirmed once need not be said again.
    let (status, again) = send(&client, "/v1/datasets/meters", meters()).await;
    assert_eq!((status, &again["repeated"]), (200, &json!(true)), "{again:#}");

    let (_, refused) = client.get("/v1/datasets/meters/rejects").await;
    assert_eq!(refused["rejects"][0]["line"], 16, "{refused:#}");
    assert_eq!(refused["rejects"][0]["column"], "Usage (Wh)");
    assert_eq!(refused["rejects"][0]["value"], "many");
    assert!(refused["rejects"][0]["fix"].as_str().unwrap().contains("number"));
    assert_eq!(refused["rejects"][1]["line"], 194);

    pages_and_windows(&client).await;

    let wish = json!({ "columns": [{ "source": "Usage (Wh)", "unit": "kWh", "to": "" }] });
    let (status, mapped) = client.post("/v1/datasets/meters/mapping", wish.to_string()).await;
    assert_eq!((status, &mapped["version"]), (201, &json!(2)), "{mapped:#}");
    let (_, rows) = client.get("/v1/datasets/meters/rows?limit=1").await;
    assert_eq!(rows["rows"][0], json!(["2026-02-03T00:00:00+08:00", "M-1", "100"]));
    let (_, rows) = client.get("/v1/datasets/meters/rows?limit=1&version=1").await;
    assert_eq!(rows["rows"][0][2], "0.1");

    let (status, undone) = client.post("/v1/datasets/meters/restore", "{}").await;
    assert_eq!((status, &undone["version"]), (200, &json!(1)));
    let (_, versions) = client.get("/v1/datasets/meters/versions").await;
    let current: Vec<&Value> =
        versions["versions"].as_array().unwrap().iter().map(|v| &v["current"]).collect();
    assert_eq!(current, [&json!(false), &json!(true)]);
    assert_eq!(client.post("/v1/datasets/meters/restore", r#"{"version": 9}"#).await.0, 404);
    assert_eq!(client.post("/v1/datasets/meters/restore", "{}").await.0, 409);

    assert_eq!(remove(&client, "/v1/datasets/meters").await, 200);
    assert_eq!(client.get("/v1/datasets/meters").await.0, 404);
    assert_eq!(remove(&client, "/v1/datasets/meters").await, 404);
    assert_eq!(client.post("/v1/datasets/meters/restore", "{}").await.0, 200);
    assert_eq!(client.get("/v1/datasets/meters").await.1["version"], 1);
    assert_eq!(remove(&client, "/v1/datasets/meters?purge=true").await, 200);
    assert_eq!(client.post("/v1/datasets/meters/restore", "{}").await.0, 404);
    assert_eq!(client.get("/v1/datasets/meters/versions").await.0, 404);
}

async fn pages_and_windows(client: &Client) {
    let mut after = String::new();
    let mut lines: Vec<u64> = Vec::new();
    loop {
        let path = format!("/v1/datasets/meters/rows?limit=50&after={after}");
        let (_, page) = client.get(&path).await;
        assert_eq!(page["columns"], json!(["start", "site_id", "energy_kwh"]));
        lines.extend(page["lines"].as_array().unwrap().iter().map(|line| line.as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    lines.sort_unstable();
    let expected: Vec<u64> = (2..194).filter(|line| *line != 16).collect();
    assert_eq!(lines, expected, "pages repeat or leave out rows");
    let window = "start=2026-02-02T17%3A00%3A00Z&end=2026-02-02T18%3A00%3A00Z&site_id=M-2";
    let (_, page) = client.get(&format!("/v1/datasets/meters/rows?{window}")).await;
    let starts: Vec<&str> =
        page["rows"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "2026-02-03T01:00:00+08:00",
            "2026-02-03T01:15:00+08:00",
            "2026-02-03T01:30:00+08:00",
            "2026-02-03T01:45:00+08:00"
        ]
    );
    assert_eq!(client.get("/v1/datasets/meters/rows?start=soon").await.0, 422);
}

#[tokio::test]
async fn bad_uploads_are_typed_problems_and_another_joint_venture_sees_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "energy");
    let bomb = "<!DOCTYPE feed [<!ENTITY a \"aaaaaaaaaa\">]><feed xmlns=\"http://naesb.org/espi\">&a;</feed>";
    for (path, body, status, code) in [
        ("/v1/datasets/a%20b", "a\n1\n", 422, "invalid_dataset_id"),
        ("/v1/datasets/empty", "", 422, "empty_file"),
        ("/v1/datasets/header", "start,load_kw\n", 422, "empty_file"),
        ("/v1/datasets/bomb", bomb, 422, "unreadable_file"),
        ("/v1/datasets/sheet", "PK\u{3}\u{4} xl/workbook.xml", 422, "unreadable_file"),
        (
            "/v1/datasets/a?mapping=%7B%22timezone%22%3A%22Mars%22%7D",
            "a\n1\n",
            422,
            "invalid_mapping",
        ),
        ("/v1/datasets/a?mapping=%7B%22zone%22%3A1%7D", "a\n1\n", 422, "invalid_mapping"),
        ("/v1/datasets/a?preview=perhaps", "a\n1\n", 422, "invalid_query"),
    ] {
        let (found, problem) = send(&client, path, body).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{path}: {problem}");
    }
    assert_eq!(client.get("/v1/datasets/header").await.0, 404, "a failed import left a version");

    // A file over the limit is refused by its announced length, before it is read.
    let mut line = std::net::TcpStream::connect(&server.address).unwrap();
    write!(
        line,
        "POST /v1/datasets/big HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        client.key,
        agents::dataset::MAX_BYTES + 1
    )
    .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("file_too_large"), "{answer}");

    let (status, _) =
        send(&client, "/v1/datasets/mine", "start,load_kw\n2026-01-01T00:00:00Z,1\n").await;
    assert_eq!(status, 201);
    let other = Client::of(&server, "finance");
    for path in ["", "/versions", "/rows", "/rejects"] {
        assert_eq!(other.get(&format!("/v1/datasets/mine{path}")).await.0, 404, "{path}");
    }
    assert_eq!(other.post("/v1/datasets/mine/restore", "{}").await.0, 404);
    assert_eq!(other.post("/v1/datasets/mine/mapping", "{}").await.0, 404);
    assert_eq!(remove(&other, "/v1/datasets/mine").await, 404);
    let (_, listed) = other.get("/v1/datasets").await;
    assert!(listed["datasets"].as_array().unwrap().iter().all(|d| d["id"] != "mine"));
}

#[tokio::test]
async fn an_uploaded_file_answers_a_request_that_names_it() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "energy");
    let mut text = "Interval start;Plant load (MW)\n".to_owned();
    for hour in 0..24 {
        text.push_str(&format!("2026-05-01 {hour:02}:00;0,{hour:02}\n"));
    }
    let mapping =
        json!({ "columns": [{ "source": "Plant load (MW)", "name": "load_kw", "to": "kW" }] });
    let form = |boundary: &str| {
        format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"mapping\"\r\n\r\n{mapping}\r\n--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"may.csv\"\r\n\r\n{text}\r\n--{boundary}--\r\n"
        )
    };
    let request = client.http.post(format!("{}/v1/datasets/may_load", client.base));
    let answer = request
        .bearer_auth(&client.key)
        .header("content-type", "multipart/form-data; boundary=b0")
        .body(form("b0"))
        .send()
        .await
        .unwrap();
    let (status, made): (u16, Value) = (answer.status().as_u16(), answer.json().await.unwrap());
    assert_eq!(status, 201, "{made:#}");
    let run =
        client.ask("energy", "What is the load factor and the peak of dataset may_load?").await;
    assert_eq!(run["calls"][0]["tool"], "interval_stats", "{run:#}");
    assert_eq!(run["calls"][0]["arguments"]["dataset"], "may_load", "{run:#}");
    // The last hour is the highest: 0.23 MW.
    let result = run["calls"][0]["result"].to_string();
    assert!(run["status"] == "done" && result.contains("230"), "{run:#}");
}

#[tokio::test]
async fn the_command_line_imports_lists_shows_and_undoes() {
    let folder = Folder::new();
    let data = folder.path();
    let file = data.parent().unwrap().join("meters.csv");
    std::fs::write(&file, meters()).unwrap();
    let file = file.to_str().unwrap();
    let wish = data.parent().unwrap().join("mapping.json");
    std::fs::write(&wish, r#"{"timezone": "Asia/Taipei"}"#).unwrap();
    let wish = wish.to_str().unwrap();
    let absent = output(&data, &["dataset", "import", "absent.csv", "--tenant", "x", "--id", "a"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(!data.exists(), "a file that is not there started a database");

    let run = |arguments: &[&str]| {
        let done = output(&data, arguments);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        text
    };
    run(&["tenant", "new", "plant", "--pack", "energy"]);
    let tail = ["--tenant", "plant"];
    let with = |head: &[&str]| run(&[head, &tail[..]].concat());
    assert!(with(&["dataset", "list"]).contains("no datasets yet"));
    let dry = with(&["dataset", "import", file, "--id", "m", "--mapping", wish, "--dry-run"]);
    assert!(
        dry.contains("191 rows, 2 lines refused") && dry.contains("nothing was stored"),
        "{dry}"
    );
    assert!(with(&["dataset", "list"]).contains("no datasets yet"));
    let made = with(&["dataset", "import", file, "--id", "m", "--mapping", wish]);
    assert!(made.contains("imported m version 1"), "{made}");
    let again = with(&["dataset", "import", file, "--id", "m", "--json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["repeated"], &again["version"]), (&json!(true), &json!(1)));
    let rejects = with(&["dataset", "rejects", "m"]);
    assert!(rejects.starts_with("line 16\tUsage (Wh)\tmany\t"), "{rejects}");
    let shown = with(&["dataset", "show", "m"]);
    assert!(shown.contains("Usage (Wh) → energy_kwh") && shown.contains("Wh → kWh"), "{shown}");
    assert!(shown.contains("* v1"));
    assert!(with(&["dataset", "delete", "m"]).contains("restore"));
    assert!(with(&["dataset", "restore", "m"]).contains("version 1"));
    let lost = output(&data, &["dataset", "show", "other", "--tenant", "plant"]);
    assert_eq!(lost.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("no such dataset"));
}

#[tokio::test]
async fn a_person_uploads_confirms_the_mapping_and_undoes_without_scripts() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let mut browser = signed_in(&server).await;
    let at = "/jv/demo-energy/datasets";
    let home = browser.get(at).await.text;
    assert!(home.contains("energy_load_hourly") && home.contains("multipart/form-data"));
    let csrf = between(&home, "name=\"csrf\" value=\"", "\"").to_owned();
    let form = |csrf: &str, id: &str| {
        let part = |name: &str, value: &str| {
            format!("--b0\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let file = "content-disposition: form-data; name=\"file\"; filename=\"Meters 1.csv\"";
        format!(
            "{}{}--b0\r\n{file}\r\n\r\n{}\r\n--b0--\r\n",
            part("csrf", csrf),
            part("id", id),
            meters()
        )
    };
    let post = |browser: &crate::dashboard::Browser, body: String| {
        let kind = "multipart/form-data; boundary=b0";
        browser.http.post(format!("{}{at}", browser.base)).header("content-type", kind).body(body)
    };
    let forged = post(&browser, form("x", "m"));
    assert_eq!(browser.send(forged).await.status, 403);
    let named = post(&browser, form(&csrf, "bad name"));
    let refused = browser.send(named).await;
    assert!(refused.status == 422 && refused.text.contains("cannot name a dataset"));
    let sent = post(&browser, form(&csrf, ""));
    let sent = browser.send(sent).await;
    assert!(
        sent.location.starts_with(&format!("{at}/meters_1/mapping?file=")),
        "{}",
        sent.location
    );

    let screen = browser.get(&sent.location).await.text;
    for part in ["Usage (Wh)", "value=\"energy_kwh\"", "value=\"kWh\"", "191 rows, 2 lines refused"]
    {
        assert!(screen.contains(part), "`{part}` is not on the mapping screen");
    }
    assert!(!screen.contains("style=") && !screen.contains("<script>"));
    let file = between(&screen, "name=\"file\" value=\"", "\"").to_owned();
    let mut fields = vec![
        ("csrf", csrf.as_str()),
        ("file", &file),
        ("file_name", "Meters 1.csv"),
        ("time", "0"),
        ("site", "1"),
        ("timezone", "Asia/Taipei"),
        ("source0", "Date/Time"),
        ("name0", "start"),
        ("type0", "time"),
        ("order0", "dmy"),
        ("source1", "Meter ID"),
        ("name1", "site_id"),
        ("type1", "text"),
        ("source2", "Usage (Wh)"),
        ("name2", "energy_kwh"),
        ("type2", "decimal"),
        ("unit2", "Wh"),
        ("to2", "kW"),
        ("action", "import"),
    ];
    let mapping = format!("{at}/meters_1/mapping");
    let wrong = browser.post(&mapping, &fields).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("cannot be converted to `kW`"));
    fields[17] = ("to2", "kWh");
    let begun = browser.post(&mapping, &fields).await;
    assert!(begun.location.contains("/imports/"), "{} {}", begun.status, begun.location);
    let mut page = browser.get(&begun.location).await;
    for _ in 0..200 {
        if page.status == 303 {
            break;
        }
        assert!(
            page.text.contains("http-equiv=\"refresh\""),
            "the page stands still: {}",
            page.text
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        page = browser.get(&begun.location).await;
    }
    let done = browser.get(&page.location).await.text;
    for part in ["Imported.", "2026-02-03T00:00:00+08:00", "0.1", "many", "Asia/Taipei", "current"]
    {
        assert!(done.contains(part), "`{part}` is not on the page of the dataset");
    }
    let one = format!("{at}/meters_1");
    let deleted = browser.post(&format!("{one}/delete"), &[("csrf", &csrf)]).await;
    assert_eq!(deleted.status, 303);
    assert_eq!(browser.get(&one).await.status, 404);
    assert!(browser.get(at).await.text.contains("deleting meters_1"));
    let undone = browser.post(&format!("{one}/restore"), &[("csrf", &csrf)]).await;
    assert_eq!(browser.get(&undone.location).await.status, 200);
    assert_eq!(browser.get(&format!("{one}/file")).await.text, meters());
}

fn job(id: &str, text: &str) -> Job {
    Job {
        id: id.to_owned(),
        upload: Upload::new("t.csv", text.as_bytes().to_vec()),
        wish: Mapping::default(),
        by: "test".to_owned(),
    }
}

async fn table(
    world: &World,
    tenant: TenantId,
    name: &str,
    window: Window,
) -> Result<Vec<Vec<String>>, String> {
    let host = Host::new(world.store.clone(), tenant, Handle::current());
    let name = name.to_owned();
    let read = tokio::task::spawn_blocking(move || host.table(&name, &window)).await.unwrap();
    read.map(|table| table.rows).map_err(|error| error.code().to_owned())
}

#[tokio::test]
async fn the_store_keeps_each_file_once_and_tools_read_the_version_that_is_named() {
    let world = World::new().await;
    let mut quiet = |_| {};
    let first = "start,site_id,load_kw\n2026-01-01T00:00:00Z,b,1\n2026-01-01T00:00:00Z,a,2\n2026-01-02T00:00:00Z,a,3\n";
    let second = "start,site_id,load_kw\n2026-01-01T00:00:00Z,a,9\n";
    let one = import(&world.store, world.one, job("x", first), &mut quiet).await.unwrap();
    let two = import(&world.store, world.one, job("x", second), &mut quiet).await.unwrap();
    let again = import(&world.store, world.one, job("y", first), &mut quiet).await.unwrap();
    let back = import(&world.store, world.one, job("x", first), &mut quiet).await.unwrap();
    let seen = [&one, &two, &again, &back].map(|done| (done.version, done.repeated));
    assert_eq!(seen, [(1, false), (2, false), (1, false), (1, true)]);

    let mut owner = world.raw(&world.address.runtime).await;
    sqlx::query("select set_config('tessera.tenant_id', $1, false)")
        .bind(world.one.to_string())
        .execute(&mut owner)
        .await
        .unwrap();
    let files: i64 = sqlx::query_scalar("select count(distinct sha256) from dataset_file")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(files, 3, "the seed's, and two contents under two names");

    // The rows come in order of the file, whatever the order of the chunks.
    let all = table(&world, world.one, "x", Window::default()).await.unwrap();
    let sites: Vec<&str> = all.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(sites, ["b", "a", "a"]);
    let window = Window {
        start: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        end: Some("2026-01-02T00:00:00Z".parse().unwrap()),
        site_id: Some("a".to_owned()),
    };
    let some = table(&world, world.one, "x", window.clone()).await.unwrap();
    assert_eq!(some, [["2026-01-01T00:00:00Z", "a", "2"]]);
    assert_eq!(table(&world, world.one, "x:v2", window).await.unwrap()[0][2], "9");
    for name in ["x:v3", "z"] {
        assert_eq!(
            table(&world, world.one, name, Window::default()).await,
            Err("no_data".to_owned())
        );
    }
    assert_eq!(table(&world, world.two, "x", Window::default()).await, Err("no_data".to_owned()));

    a_running_import_holds_its_dataset(&world).await;
    a_row_of_before_is_read_through_the_same_import(&world, &mut owner).await;
    drop(owner);
    world.close().await;
}

async fn a_running_import_holds_its_dataset(world: &World) {
    let mut held = world.store.begin(world.one).await.unwrap();
    held.next_version("x").await.unwrap();
    let refused = import(&world.store, world.one, job("x", "a\nb\n"), &mut |_| {}).await;
    assert!(matches!(refused, Err(ImportError::Store(StoreError::Conflict(_)))), "{refused:?}");
    // Another joint venture's dataset of the same name is another one.
    import(&world.store, world.two, job("x", "a\nb\n"), &mut |_| {}).await.unwrap();
}

async fn a_row_of_before_is_read_through_the_same_import(
    world: &World,
    rows: &mut sqlx::PgConnection,
) {
    let text = "Date/Time,Load [MW]\n2026-01-01 00:00,1.5\n";
    sqlx::query(
        "insert into dataset (tenant_id, dataset_id, version, media_type, bytes) values ($1, 'old', 1, '', $2)",
    )
    .bind(world.one)
    .bind(text.as_bytes())
    .execute(&mut *rows)
    .await
    .unwrap();
    sqlx::query("insert into dataset_head (tenant_id, dataset_id, version) values ($1, 'old', 1)")
        .bind(world.one)
        .execute(rows)
        .await
        .unwrap();
    let read = table(world, world.one, "old", Window::default()).await.unwrap();
    assert_eq!(read, [["2026-01-01T00:00:00Z", "1500"]]);
}
