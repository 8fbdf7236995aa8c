//! The file of settings: what it says holds where neither the environment nor a flag says otherwise.

use std::path::Path;

use clap::CommandFactory as _;
use serde_json::Value;
use server::config::{Config, File};

use crate::support::{Folder, output, tessera};

#[derive(clap::Parser)]
struct All {
    #[command(flatten)]
    _config: Config,
}

/// Settings that a file does not hold: secrets, and which file it is.
const OUTSIDE: [&str; 3] = ["config", "master_key", "otlp_headers"];

#[test]
fn the_file_has_every_setting_that_the_command_line_has() {
    let mut flags: Vec<String> = All::command()
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .filter(|name| !OUTSIDE.contains(&name.as_str()))
        .collect();
    let schema = File::schema();
    let properties = schema["properties"].as_object().unwrap();
    let mut keys: Vec<String> = properties.keys().map(|name| name.replace('-', "_")).collect();
    flags.sort();
    keys.sort();
    assert_eq!(flags, keys);
    for (name, property) in properties {
        assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_documented_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.schema.json");
    let documented: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let hint = "write it anew: tessera config schema > docs/config.schema.json";
    assert_eq!(documented, File::schema(), "{hint}");
}

fn said(out: &std::process::Output) -> String {
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_file_is_checked_with_its_place_and_gives_way_to_environment_and_flags() {
    let folder = Folder::new();
    let data = folder.path();
    std::fs::create_dir_all(&data).unwrap();
    let file = data.join("tessera.toml");
    let path = file.display().to_string();
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let out = output(&data, &["config", "check", &path]);
        (out.status.code(), said(&out))
    };
    assert_eq!(check("port = 7081\nlog-format = \"json\"\n").0, Some(0));
    for (text, hints) in [
        ("port = 7081\nprot = 1\n", ["line 2, column 1", "prot"]),
        ("workers = \"two\"\n", ["line 1, column 11", "u16"]),
        ("gate-alpha = 7.0\n", ["gate-alpha", "between 0 and 1"]),
        ("metrics = \"nowhere\"\n", ["line 1", "metrics"]),
    ] {
        let (code, told) = check(text);
        assert_eq!(code, Some(2), "{told}");
        assert!(hints.iter().all(|hint| told.contains(hint)), "{text}: {told}");
    }
    // Which setting wins is seen by where a start cannot listen.
    std::fs::write(&file, "host = \"192.0.2.1\"\nport = 81\n").unwrap();
    let refused = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = tessera(&data);
        command.args(["--config", &path]).args(arguments).arg("serve");
        for (name, value) in environment {
            command.env(name, value);
        }
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(4), "{}", said(&out));
        said(&out)
    };
    assert!(refused(&[], &[]).contains("192.0.2.1:81"));
    let environment = [("TESSERA_PORT", "82")];
    assert!(refused(&[], &environment).contains("192.0.2.1:82"));
    assert!(refused(&["--port", "83"], &environment).contains("192.0.2.1:83"));
    let out = output(&data, &["--config", "/nowhere/at/all.toml", "tenant", "list"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("/nowhere/at/all.toml"));
}
