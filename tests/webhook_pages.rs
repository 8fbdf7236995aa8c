//! The pages of webhooks as a browser without scripts sees them.

use server::webhooks::sign::SigningSecret;

use crate::ask::Client;
use crate::dashboard::{between, signed_in};
use crate::support::{Folder, Server, output};
use crate::webhooks::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_adds_an_address_tests_it_reads_its_log_and_lets_a_source_start_runs() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port);
    let mut browser = signed_in(&server).await;
    let base = "/jv/demo-finance/webhooks";
    let page = browser.get(base).await;
    assert!(page.text.contains("Nothing is told to anybody yet"), "{}", page.text);
    let csrf = between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned();
    // An address that may not be reached is said to be so, and kept in the box.
    let refused = browser.post(base, &[("csrf", &csrf), ("url", &receiver.url("ok"))]).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("only https") && refused.text.contains(&receiver.url("ok")));
    let allow = ["egress", "allow", "demo-finance", &host, "--private"];
    assert!(output(&folder.path(), &allow).status.success());
    let form =
        [("csrf", csrf.as_str()), ("url", &receiver.url("ok")), ("events", "run.*, webhook.test")];
    let made = browser.post(base, &form).await;
    assert!(made.text.contains("whsec_"), "{}", made.text);
    let one = between(&made.text, "class=\"button\" href=\"", "\"").to_owned();
    let shown = browser.get(&one).await;
    assert!(!shown.text.contains("whsec_"), "a secret is shown twice");
    let sent = browser.post(&format!("{one}/test"), &[("csrf", &csrf)]).await;
    assert_eq!(sent.status, 303);
    let begun = std::time::Instant::now();
    let log = loop {
        let page = browser.get(&one).await;
        if page.text.contains("<span class=\"badge good\">Got through</span>") {
            break page.text;
        }
        assert!(begun.elapsed().as_secs() < 60, "{}", page.text);
    };
    let delivery = between(&log, "<th scope=\"row\"><a href=\"", "\"").to_owned();
    let delivery = browser.get(&delivery).await.text;
    assert!(
        delivery.contains("webhook-signature: v1,") && delivery.contains("webhook.test"),
        "{delivery}"
    );
    let other = browser.get(&one.replace("finance", "energy")).await;
    assert_eq!(other.status, 404);

    let source = [
        ("csrf", csrf.as_str()),
        ("name", "payees"),
        ("kind", "standard"),
        ("request", "Is the IBAN {{/iban}} correct?"),
        ("when", "/type = added\n/n = 1"),
    ];
    let made = browser.post("/jv/demo-finance/sources", &source).await.text;
    let secret = format!("whsec_{}", between(&made, "whsec_", "<"));
    let path = format!("/v1/hooks/{}", between(&made, "/v1/hooks/", "<"));
    let client = Client::of(&server, "finance");
    let body = r#"{"type": "added", "n": 1, "iban": "DE89370400440532013000", "note": "<script>"}"#;
    let now = jiff::Timestamp::now().as_second();
    let signature = SigningSecret::read(&secret).unwrap().sign("m1", now, body.as_bytes());
    let call = client.http.post(format!("{}{path}", client.base)).body(body);
    let call = call.header("webhook-id", "m1").header("webhook-timestamp", now.to_string());
    let answer = call.header("webhook-signature", signature).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let listed = between(&made, "class=\"button\" href=\"", "\"").to_owned();
    let came = browser.get(&listed).await.text;
    assert!(came.contains("Started a run") && came.contains("/jv/demo-finance/runs/"), "{came}");
    assert!(!came.contains("<script>\"") && came.contains("m1"), "{came}");
    let deleted = browser.post(&format!("{one}/delete"), &[("csrf", &csrf)]).await;
    assert_eq!((deleted.status, deleted.location.as_str()), (303, base));
    assert_eq!(browser.get(&one).await.status, 404);
    let forged = browser.post(base, &[("csrf", "x"), ("url", "https://example.com/")]).await;
    assert_eq!(forged.status, 403);
}
