//! The dashboard as a browser without scripts sees it.

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

use crate::support::{Folder, Server};

/// A browser without scripts: it keeps cookies and follows nothing by itself.
pub(crate) struct Browser {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) cookie: String,
}

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) location: String,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn new(server: &Server) -> Self {
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, base: format!("http://{}", server.address), cookie: String::new() }
    }

    pub(crate) async fn send(&mut self, request: reqwest::RequestBuilder) -> Page {
        let answer = request.header(COOKIE, &self.cookie).send().await.unwrap();
        if let Some(cookie) = answer.headers().get(SET_COOKIE) {
            self.cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        let location = answer.headers().get(LOCATION).map(|l| l.to_str().unwrap().to_owned());
        Page {
            status: answer.status().as_u16(),
            location: location.unwrap_or_default(),
            text: answer.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        let request = self.http.get(format!("{}{path}", self.base));
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let pairs: Vec<String> = form.iter().map(|(k, v)| format!("{k}={}", encoded(v))).collect();
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(pairs.join("&"));
        self.send(request).await
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}

pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before)
        .and_then(|(_, rest)| rest.split_once(after))
        .map(|(found, _)| found)
        .unwrap()
}

pub(crate) async fn signed_in(server: &Server) -> Browser {
    let line = server.said.iter().find(|line| line.contains("/login?token=")).unwrap();
    let path = format!("/login?token={}", line.split("/login?token=").nth(1).unwrap());
    let mut browser = Browser::new(server);
    let form = browser.get(&path).await;
    let token = between(&form.text, "name=\"token\" value=\"", "\"").to_owned();
    let done = browser.post("/login", &[("token", &token)]).await;
    assert_eq!((done.status, done.location.as_str()), (303, "/"));
    let mut other = Browser::new(server);
    let used = other.post("/login", &[("token", &token)]).await;
    assert!(used.location.starts_with("/login?fault="), "a link was used twice");
    browser
}

/// Signs in with the demo key: another person than whoever used the link.
async fn signed_in_with_key(server: &Server, pack: &str) -> Browser {
    let line = server.said.iter().find(|line| line.contains(&format!("demo-{pack}"))).unwrap();
    let key = line.split_whitespace().last().unwrap();
    let mut browser = Browser::new(server);
    let done = browser.post("/login", &[("key", key)]).await;
    assert_eq!((done.status, done.location.as_str()), (303, "/"));
    browser
}

#[tokio::test]
async fn a_person_signs_in_chooses_a_venture_asks_and_reads_the_trace_without_scripts() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let mut stranger = Browser::new(&server);
    let refused = stranger.get("/jv/demo-finance").await;
    assert_eq!((refused.status, refused.location.as_str()), (303, "/login"));

    let mut browser = signed_in(&server).await;
    let ventures = browser.get("/").await.text;
    for pack in ["automotive", "energy", "finance", "gaming"] {
        assert!(ventures.contains(&format!("/jv/demo-{pack}")), "{pack} is not offered");
    }
    let home = browser.get("/jv/demo-finance").await.text;
    assert!(home.contains("Nothing asked yet"));
    let csrf = between(&home, "name=\"csrf\" value=\"", "\"").to_owned();
    let request = "What is the monthly payment on a 200,000 loan at 6% over 360 months?";
    let forged =
        browser.post("/jv/demo-finance/runs", &[("csrf", "x"), ("request", request)]).await;
    assert_eq!(forged.status, 403);
    let elsewhere = browser
        .http
        .post(format!("{}/logout", browser.base))
        .header("origin", "http://elsewhere.example");
    let elsewhere = browser.send(elsewhere).await;
    assert_eq!(elsewhere.status, 403, "another site signed the person out");
    let partly = browser.post("/jv/demo-finance/runs", &[("csrf", &csrf)]).await;
    assert!(partly.status == 422 && partly.text.contains("nothing was changed"));
    assert_eq!(browser.get("/jv/demo-finance?q=%00&after=nonsense").await.status, 200);
    let empty = browser.post("/jv/demo-finance/runs", &[("csrf", &csrf), ("request", " ")]).await;
    assert_eq!(empty.status, 422);
    assert!(empty.text.contains("the request is empty"));
    let asked =
        browser.post("/jv/demo-finance/runs", &[("csrf", &csrf), ("request", request)]).await;
    assert_eq!(asked.status, 303);
    let mut page = browser.get(&asked.location).await.text;
    for _ in 0..200 {
        if page.contains("data-ended=\"true\"") {
            break;
        }
        assert!(page.contains("http-equiv=\"refresh\""), "a page without scripts stands still");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        page = browser.get(&asked.location).await.text;
    }
    for part in ["1,199.10", "Sources", "Trace", "annual_rate_pct", "“6%”", "loan_schedule"] {
        assert!(page.contains(part), "`{part}` is not on the page");
    }
    assert!(
        !page.contains("style=") && !page.contains("<script>"),
        "the policy blocks inline parts"
    );
    let style = between(&page, "rel=\"stylesheet\" href=\"", "\"");
    assert!(
        style.contains("?v=") && browser.get(style).await.text.contains("prefers-color-scheme")
    );
    assert!(browser.get("/jv/demo-finance?q=payment").await.text.contains(&asked.location));
    assert!(browser.get("/jv/demo-finance?q=zebra").await.text.contains("No run matches"));
    assert_eq!(browser.get("/jv/demo-mining").await.status, 404);
    assert!(
        browser
            .get("/jv/demo-finance/pack")
            .await
            .text
            .contains("Annual percentage rate of a credit")
    );
    assert_eq!(browser.post("/logout", &[]).await.status, 403, "signed out without the token");
    let out = browser.post("/logout", &[("csrf", &csrf)]).await;
    assert_eq!(out.location, "/login");
    assert_eq!(browser.get("/jv/demo-finance").await.location, "/login");
}

#[tokio::test]
async fn an_act_is_approved_on_its_page_and_markup_of_a_request_is_shown_as_text() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let mut browser = signed_in(&server).await;
    let home = browser.get("/jv/demo-gaming").await.text;
    let csrf = between(&home, "name=\"csrf\" value=\"", "\"").to_owned();
    let hostile = [("csrf", csrf.as_str()), ("request", "<script>alert(1)</script> hello")];
    let asked = browser.post("/jv/demo-gaming/runs", &hostile).await;
    let page = browser.get(&asked.location).await.text;
    assert!(
        !page.contains("<script>alert") && page.contains("script&#62;")
            || page.contains("&lt;script")
    );

    let refund = [
        ("csrf", csrf.as_str()),
        ("request", "Refund 14.99 on order ord-6001, bought by accident."),
    ];
    let asked = browser.post("/jv/demo-gaming/runs", &refund).await;
    let mut list = String::new();
    for _ in 0..200 {
        list = browser.get("/jv/demo-gaming/approvals").await.text;
        if list.contains("value=\"approve\"") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(list.contains("14.99"));
    let action = between(&list, "action=\"/jv/demo-gaming/approvals/", "\"").to_owned();
    let form = [("csrf", csrf.as_str()), ("decision", "approve"), ("reason", "checked the order")];
    let own = browser.post(&format!("/jv/demo-gaming/approvals/{action}"), &form).await;
    assert_eq!(own.status, 403, "whoever asked approved");
    assert!(own.text.contains("another person must approve"));
    let mut browser = signed_in_with_key(&server, "gaming").await;
    let inbox = browser.get("/jv/demo-gaming/approvals").await.text;
    assert!(inbox.contains("second person sees the order") && inbox.contains("not who asked"));
    let csrf = between(&inbox, "name=\"csrf\" value=\"", "\"").to_owned();
    let form = [("csrf", csrf.as_str()), ("decision", "approve"), ("reason", "checked the order")];
    let decided = browser.post(&format!("/jv/demo-gaming/approvals/{action}"), &form).await;
    assert_eq!(decided.location, asked.location);
    for _ in 0..200 {
        list = browser.get(&asked.location).await.text;
        if list.contains("data-ended=\"true\"") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(list.contains("EF-"), "the act left no reference of the ledger");
}

#[test]
fn no_template_marks_a_text_as_safe() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
    let mut read = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let loose = ["|safe", "| safe", "escape=\"none\"", "{% autoescape"];
        assert!(!loose.iter().any(|mark| text.contains(mark)), "{text}");
        read += 1;
    }
    assert!(read > 10);
}
