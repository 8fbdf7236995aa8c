//! The commands of somebody who writes a pack, on the built program.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::pack::text;
use crate::support::{Folder, output};

fn pack(arguments: &[&str]) -> Output {
    let folder = Folder::new();
    output(&folder.path(), &[&["pack"], arguments].concat())
}

fn place(folder: &Folder, name: &str) -> PathBuf {
    std::fs::create_dir_all(folder.path()).unwrap();
    folder.path().join(name)
}

fn new_pack(folder: &Folder) -> PathBuf {
    let at = place(folder, "desk");
    let made = pack(&["new", "desk", "--folder", at.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    at
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} does not hold `{from}`", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_new_pack_is_checked_and_tested_at_once_and_never_written_over() {
    let folder = Folder::new();
    let at = new_pack(&folder);
    let at = at.to_str().unwrap();
    let checked = pack(&["check", "--folder", at]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(text(&checked.stdout).contains("0 errors, 0 warnings"), "{checked:?}");
    let tested = pack(&["test", "--folder", at]);
    assert!(tested.status.success(), "{tested:?}");
    let again = pack(&["new", "desk", "--folder", at]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let nameless = pack(&["new"]);
    assert_eq!(nameless.status.code(), Some(2), "{nameless:?}");
    assert!(text(&nameless.stderr).contains("Name of the pack is needed"), "{nameless:?}");
}

#[test]
fn a_mistake_is_shown_in_its_line_and_as_json() {
    let folder = Folder::new();
    let at = new_pack(&folder);
    edit(&at.join("policy.toml"), "tool = \"find_order\"", "tool = \"find_ordre\"");
    let shown = pack(&["check", "--folder", at.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    let said = text(&shown.stdout);
    for part in [
        "error[unknown_tool]: the pack has no tool `find_ordre`",
        "policy.toml:22:",
        "^^^^",
        "did you mean `find_order`?",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    let json = pack(&["check", "--folder", at.to_str().unwrap(), "--json"]);
    let mistakes: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(mistakes[0]["file"], "policy.toml");
    assert_eq!(
        (mistakes[0]["line"].as_u64(), mistakes[0]["code"].as_str()),
        (Some(22), Some("unknown_tool"))
    );
    let built = pack(&["build", "--folder", at.to_str().unwrap()]);
    assert_eq!(built.status.code(), Some(1), "{built:?}");
}

#[test]
fn schemas_are_printed_listed_and_written() {
    let listed = text(&pack(&["schema"]).stdout);
    assert!(listed.contains("tools/NAME.toml") && listed.contains("policy.toml"), "{listed}");
    let schema: Value = serde_json::from_slice(&pack(&["schema", "tool"]).stdout).unwrap();
    assert_eq!(schema["properties"]["effect"]["$ref"], "#/$defs/Effect");
    let folder = Folder::new();
    let out = place(&folder, "schemas");
    assert!(pack(&["schema", "--out", out.to_str().unwrap()]).status.success());
    assert!(out.join("pack.schema.json").exists() && out.join("case.schema.json").exists());
    assert_eq!(pack(&["schema", "nothing"]).status.code(), Some(2));
}

#[test]
fn a_pack_is_built_signed_and_verified_and_a_changed_one_is_refused() {
    let folder = Folder::new();
    let at = new_pack(&folder);
    let (one, two, key) = (place(&folder, "one"), place(&folder, "two"), place(&folder, "key"));
    let run = |arguments: &[&str]| {
        let done = pack(arguments);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for out in [&one, &two] {
        let (code, said) = run(&["build", "--folder", &path(&at), "--out", &path(out)]);
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    let (_, said) = run(&["key", "--out", &path(&key)]);
    let public = said.lines().find_map(|line| line.strip_prefix("public key ")).unwrap().to_owned();
    assert_eq!(run(&["key", "--out", &path(&key)]).0, Some(2), "a key was written over");
    let (code, said) = run(&["verify", &path(&one), "--trust", &public]);
    assert!(code == Some(2) && said.contains("not signed"), "{said}");
    assert_eq!(run(&["sign", &path(&one), "--key", &path(&key)]).0, Some(0));
    let (code, said) = run(&["verify", &path(&one), "--trust", &public]);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        &format!("signed by {public}"),
        "reaches: orders.example.com",
        "effects: read",
        "is given the secrets: orders_token",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    let mut bytes = std::fs::read(&one).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&one, bytes).unwrap();
    let (code, said) = run(&["verify", &path(&one), "--trust", &public]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn tools_are_imported_into_a_pack_that_still_holds() {
    let folder = Folder::new();
    let at = new_pack(&folder);
    let document = place(&folder, "api.yaml");
    std::fs::write(&document, API).unwrap();
    let (document, at) = (document.to_str().unwrap(), at.to_str().unwrap());
    let listed = pack(&["import", "openapi", document, "--list"]);
    assert!(text(&listed.stdout).contains("getRate"), "{listed:?}");
    let done = pack(&["import", "openapi", document, "--folder", at, "--operation", "getRate"]);
    assert!(done.status.success(), "{done:?}");
    assert!(text(&done.stdout).contains("1 tools: get_rate"), "{done:?}");
    let tested = pack(&["test", "--folder", at]);
    assert!(tested.status.success(), "{tested:?}");
    let again = pack(&["import", "openapi", document, "--folder", at, "--operation", "nothing"]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
}

const API: &str = r#"
openapi: 3.1.0
info: { title: Rates, version: "1" }
servers: [{ url: "https://rates.example.com" }]
paths:
  /rates/{currency}:
    get:
      operationId: getRate
      summary: Read the rate of a currency
      parameters: [{ name: currency, in: path, required: true, schema: { type: string, minLength: 3, maxLength: 3 } }]
      responses:
        "200":
          description: ok
          content: { application/json: { schema: { type: object, properties: { rate: { type: number }, day: { type: string, format: date } } } } }
    delete:
      operationId: removeRate
      summary: Remove a rate
      parameters: [{ name: currency, in: path, required: true, schema: { type: string } }]
      responses: { "204": { description: gone } }
"#;

#[test]
fn a_query_over_a_dataset_is_a_tool() {
    let folder = Folder::new();
    let at = new_pack(&folder);
    std::fs::create_dir_all(at.join("fixtures")).unwrap();
    for (file, content) in [
        ("tools/stock_by_place.toml", QUERY),
        ("answers/stock_by_place.en.jinja", "**{{ result.row_count }}** places.\n"),
        ("fixtures/stock.csv", "sku,qty,place\nA-1,5,north\nB-2,7,south\nC-3,40,north\n"),
        ("fixtures/index.toml", "[[dataset]]\nid = \"stock\"\nfile = \"stock.csv\"\n"),
    ] {
        std::fs::write(at.join(file), content).unwrap();
    }
    let cases = at.join("evals/cases.jsonl");
    let more = r#"{"id": "desk-02", "request": "Stock by place in stock, at least 6", "lang": "en", "expected_calls": [{"name": "stock_by_place", "arguments": {"dataset": "stock", "least": 6}}]}"#;
    std::fs::write(&cases, std::fs::read_to_string(&cases).unwrap() + more + "\n").unwrap();
    let shown = at.to_str().unwrap();
    let tested = pack(&["test", "--folder", shown]);
    assert!(tested.status.success(), "{tested:?}");
    edit(&at.join("tools/stock_by_place.toml"), "select place", "delete from stock where place");
    let checked = pack(&["check", "--folder", shown]);
    assert!(text(&checked.stdout).contains("a query is one `select`"), "{checked:?}");
}

const QUERY: &str = r#"
name = "stock_by_place"
title = "Stock by place"
description = "Sums the stock of each place that has at least some pieces."
effect = "read"
method = "Sum of the quantities by place"

[inputSchema]
type = "object"
required = ["dataset", "least"]
additionalProperties = false

[inputSchema.properties]
dataset = { type = "string", description = "Dataset with the stock." }
least = { type = "integer", minimum = 0, description = "Fewest pieces of a place." }

[outputSchema]
type = "object"
additionalProperties = false

[outputSchema.properties]
row_count = { type = "integer", description = "Places." }
cut = { type = "boolean", description = "Whether there are more." }
method = { type = "string", description = "How it is counted." }
warnings = { type = "array", items = { type = "object" }, description = "Limits." }
rows = { type = "array", description = "The places.", items = { type = "object", properties = { place = { type = "string" }, total = { type = "integer" } } } }

[run]
kind = "sql"
datasets = { stock = "{dataset}" }
query = """select place, sum(cast(qty as integer)) as total from stock
group by place having total >= $1 order by place"""
parameters = ["{least}"]

[[vectors]]
source = "counted by hand: north 45, south 7"
arguments = { dataset = "stock", least = 10 }
expect = [{ pointer = "/rows/0/total", equals = 45 }, { pointer = "/row_count", equals = 1 }]
"#;

#[test]
fn a_pack_is_watched_while_it_is_written_and_plans_what_is_typed() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::Stdio;

    let folder = Folder::new();
    let at = new_pack(&folder);
    let mut dev = crate::support::tessera(&folder.path());
    dev.args(["pack", "dev", "--folder", at.to_str().unwrap()]);
    let mut dev = dev.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let mut until = |wanted: &str| {
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            said.push_str(&line);
            if line.contains(wanted) {
                return said;
            }
        }
        panic!("`{wanted}` did not come: {said}");
    };
    until("holds");
    let mut typed = dev.stdin.take().unwrap();
    writeln!(typed, "Look up order A-1042.").unwrap();
    until("call find_order {\"order_id\":\"A-1042\"}");
    edit(&at.join("cite.toml"), "desk-orders", "desk-ordres");
    assert!(until("did you mean `desk-orders`?").contains("saved: cite.toml"));
    edit(&at.join("cite.toml"), "desk-ordres", "desk-orders");
    until("holds");
    edit(&at.join("tools/find_order.toml"), "equals = \"129.90\"", "equals = \"1.00\"");
    until("expected \"1.00\"");
    drop(typed);
    assert!(dev.wait().unwrap().success());
}
