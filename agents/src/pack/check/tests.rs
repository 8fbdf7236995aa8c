use proptest::prelude::*;

use super::*;
use crate::pack::new::{Wanted, scaffold};
use crate::pack::shipped;

fn new_pack() -> PackFiles {
    let wanted = Wanted {
        id: "desk".to_owned(),
        title: "Desk".to_owned(),
        description: "Answers.".to_owned(),
        languages: vec!["en".to_owned()],
    };
    scaffold(&wanted).unwrap()
}

/// A new pack in which texts of files are replaced.
fn changed(edits: &[(&str, &str, &str)]) -> PackFiles {
    let mut files = new_pack();
    for (path, from, to) in edits {
        let text = String::from_utf8(files.get(path).unwrap().to_vec()).unwrap();
        assert!(text.contains(from), "{path} does not hold `{from}`");
        files = files.with([((*path).to_owned(), text.replacen(from, to, 1))]);
    }
    files
}

/// Every mistake as `file:line:column code message hint`.
fn told(files: &PackFiles) -> Vec<String> {
    let said = |one: Mistake| {
        let hint = one.hint.unwrap_or_default();
        format!("{}:{}:{} {} {} | {hint}", one.file, one.line, one.column, one.code, one.message)
    };
    check(files).into_iter().map(said).collect()
}

#[test]
fn the_shipped_packs_have_no_mistakes() {
    for pack in shipped().unwrap() {
        let found = told(&pack.files);
        assert!(found.is_empty(), "{}: {found:#?}", pack.manifest.id);
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_at_its_place_with_what_would_be_right() {
    let files = changed(&[
        ("tools/find_order.toml", "effect = \"read\"", "effect = \"raed\""),
        ("policy.toml", "decision = \"allow\"", "decision = \"alow\"\nroels = []"),
        ("knowledge/orders.md", "review_by: 2030-12-31", "review_by: soon"),
        ("answers/find_order.en.jinja", "{% if", "{% iff"),
        ("cite.toml", "desk-orders", "desk-ordres"),
        ("evals/retrieval.jsonl", "desk-orders", "desk-nothing"),
        ("evals/cases.jsonl", "find_order", "find_ordr"),
        ("synth/find_order.toml", "kind = \"id\"", "knid = \"id\""),
        ("pack.toml", "version = \"0.1.0\"", "version = \"one\""),
    ])
    .with([("notes.txt".to_owned(), "x".to_owned())]);
    let found = told(&files);
    for wanted in [
        "answers/find_order.en.jinja:1:",
        "cite.toml:2:15 unknown_document the pack has no document `desk-ordres` | did you mean `desk-orders`?",
        "evals/cases.jsonl:1:",
        "evals/retrieval.jsonl:1:",
        "knowledge/orders.md:8:1 document `review_by` is no date",
        "notes.txt:1:1 unknown_file",
        "pack.toml:4:11 version `one` is no version",
        "policy.toml:21:12 wrong_value `alow` is not one of",
        "policy.toml:22:1 unknown_key there is no key `roels` here | did you mean `roles`?",
        "synth/find_order.toml:3:1 phrases",
        "tools/find_order.toml:5:10 wrong_value `raed` is not one of `pure`, `read`, `propose`, `act` | did you mean `read`?",
    ] {
        assert!(found.iter().any(|one| one.starts_with(wanted)), "`{wanted}` is not in {found:#?}");
    }
    // A file that does not read makes no list of others: the tool is still known by its name.
    assert!(!found.iter().any(|one| one.contains("no tool `find_order`")), "{found:#?}");
    assert!(found.len() <= 12, "{found:#?}");
}

#[test]
fn what_a_declared_tool_could_not_do_is_told() {
    let tool = "tools/find_order.toml";
    for (edits, wanted) in [
        (
            vec![(tool, "system = \"orders\"", "system = \"order\"")],
            "unknown_system `pack.toml` has no system `order` | did you mean `orders`?",
        ),
        (
            vec![(tool, "path = \"/orders/{order_id}\"", "path = \"orders/{ordr_id}\"")],
            "unknown_argument `find_order` has no argument `ordr_id` | did you mean `order_id`?",
        ),
        (vec![(tool, "path = \"/orders", "path = \"orders")], "path a path begins with `/`"),
        (
            vec![(tool, "effect = \"read\"", "effect = \"act\"")],
            "effect an act needs the argument `idempotency_key`",
        ),
        (
            vec![(tool, "name = \"find_order\"", "name = \"find_orders\"")],
            "file_name the file is that of a tool `find_order`",
        ),
        (
            vec![(tool, "maxLength = 10", "maxLength = \"ten\"")],
            "schema this schema does not compile",
        ),
        (
            vec![(tool, "arguments = { order_id = \"A-1042\" }", "arguments = { order_id = 7 }")],
            "vector the input schema refuses this",
        ),
        (
            vec![(tool, "error = \"no_data\"", "error = \"nodata\"")],
            "wrong_value no call is refused with `nodata` | did you mean `no_data`?",
        ),
        (
            vec![(tool, "kind = \"http\"", "kind = \"htp\"")],
            "wrong_value `htp` is not one of `http`, `sql` | did you mean `http`?",
        ),
        (vec![(tool, "timeout_ms = 5000", "timeout_ms = 500000")], "wrong_value"),
        (
            vec![(tool, "timeout_ms = 5000", "headers = { Authorization = \"x\" }")],
            "header a tool does not set `Authorization`",
        ),
        (
            vec![("pack.toml", "secret = true\n", "")],
            "secret the setting `orders_token` is not kept secret",
        ),
        (
            vec![("pack.toml", "secret = true\n", "secret = true\ndefault = \"hunter2\"\n")],
            "secret a secret has no default",
        ),
        (
            vec![("pack.toml", "https://orders", "http://orders")],
            "url `http://orders.example.com/v1` is no address with https",
        ),
        (
            vec![("pack.toml", "setting = \"orders_token\"", "setting = \"token\"")],
            "unknown_setting the pack has no setting `token`",
        ),
        (
            vec![("pack.toml", "platform = \">=0.1, <1\"", "platform = \">=7\"")],
            "platform the pack does not work with this program",
        ),
        (
            vec![("pack.toml", "title = \"Desk\"", "title = 7")],
            "wrong_type a text is needed here, and this is a number",
        ),
        (
            vec![("answers/find_order.en.jinja", "result.total", "result.totle")],
            "template the result of `find_order` has no `totle` | did you mean `total`?",
        ),
    ] {
        let found = told(&changed(&edits));
        assert!(found.iter().any(|one| one.contains(wanted)), "`{wanted}` is not in {found:#?}");
    }
}

#[test]
fn a_pattern_that_takes_for_ever_ends_soon() {
    let files = changed(&[
        ("tools/find_order.toml", "^[A-Z]-[0-9]{1,8}$", "^(?=(a+)+$)(a|aa|a)+b$"),
        ("tools/find_order.toml", "maxLength = 10", "maxLength = 100000"),
        (
            "tools/find_order.toml",
            "order_id = \"A-1042\"",
            &format!("order_id = \"{}\"", "a".repeat(5000)),
        ),
    ]);
    let begun = std::time::Instant::now();
    let found = told(&files);
    assert!(found.iter().any(|one| one.contains("vector")), "{found:#?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_folder_with_a_link_or_too_large_a_file_is_refused_and_dot_files_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in new_pack().below("") {
        let to = folder.path().join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
    std::fs::create_dir(folder.path().join(".git")).unwrap();
    std::fs::write(folder.path().join(".git/config"), "x").unwrap();
    let files = PackFiles::from_folder(folder.path()).unwrap();
    assert!(files.get(".git/config").is_none() && check(&files).is_empty());
    let link = folder.path().join("knowledge/passwd.md");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let said = PackFiles::from_folder(folder.path()).unwrap_err().to_string();
    assert!(said.contains("knowledge/passwd.md") && said.contains("no links"), "{said}");
    std::fs::remove_file(link).unwrap();
    let large = std::fs::File::create(folder.path().join("knowledge/large.md")).unwrap();
    large.set_len(1 << 30).unwrap();
    let said = PackFiles::from_folder(folder.path()).unwrap_err().to_string();
    assert!(said.contains("knowledge/large.md: a file has at most"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn mangled_files_never_panic(
        file in any::<proptest::sample::Index>(),
        at in any::<proptest::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let files = new_pack();
        let all: Vec<(String, Vec<u8>)> =
            files.below("").map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
        let mangled = file.index(all.len());
        let mut again = PackFiles::default();
        for (n, (path, mut content)) in all.into_iter().enumerate() {
            if n == mangled {
                let at = at.index(content.len());
                let end = (at + bytes.len()).min(content.len());
                content.splice(at..end, bytes.clone());
            }
            again.insert(&path, content).unwrap();
        }
        drop(check(&again));
    }
}
