//! A document of a pack: its front matter, its passages, and the days on which it holds.

use std::collections::BTreeMap;

use jiff::civil::Date;

/// Longest passage in characters; a longer section is cut at a line.
const MAX_PASSAGE: usize = 900;

/// A document of a pack, from the lines between `---` and the text after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Identifier, unique in the pack.
    pub id: String,
    /// Title.
    pub title: String,
    /// Language of the text.
    pub language: String,
    /// Where its rules hold.
    pub jurisdiction: String,
    /// Publication and section that it rests on.
    pub source: String,
    /// First day on which it holds.
    pub effective_from: Date,
    /// Last day on which it holds; open when absent.
    pub effective_to: Option<Date>,
    /// Documents that it takes the place of from its first day on.
    pub supersedes: Vec<String>,
    /// Day until which it counts as reviewed.
    pub review_by: Date,
    /// Version.
    pub version: String,
    /// Heading and text of each passage.
    pub passages: Vec<(String, String)>,
}

impl Document {
    /// Reads a Markdown file with front matter of `key: value` lines. `effective_to` and
    /// `supersedes` (identifiers between commas) may be absent.
    ///
    /// # Errors
    /// What is missing or malformed, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("---\n").ok_or("the file does not begin with `---`")?;
        let (head, body) =
            rest.split_once("\n---").ok_or("the front matter has no closing `---`")?;
        let fields: BTreeMap<&str, &str> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .collect();
        let given = |name: &str| fields.get(name).copied().filter(|value| !value.is_empty());
        let field = |name: &str| {
            let value = given(name).map(str::to_owned);
            value.ok_or(format!("`{name}` is missing in the front matter"))
        };
        let day = |name: &str| {
            field(name)?.parse::<Date>().map_err(|e| format!("`{name}` is no date: {e}"))
        };
        let passages = passages(body);
        if passages.is_empty() {
            return Err("the document has no text".to_owned());
        }
        let document = Self {
            id: field("id")?,
            title: field("title")?,
            language: field("language")?,
            jurisdiction: field("jurisdiction")?,
            source: field("source")?,
            effective_from: day("effective_from")?,
            effective_to: given("effective_to").map(|_| day("effective_to")).transpose()?,
            supersedes: given("supersedes")
                .map(|list| list.split(',').map(|id| id.trim().to_owned()).collect())
                .unwrap_or_default(),
            review_by: day("review_by")?,
            version: field("version")?,
            passages,
        };
        match document.effective_to {
            Some(last) if last < document.effective_from => {
                Err(format!("`effective_to` {last} is before `effective_from`"))
            }
            _ => Ok(document),
        }
    }

    /// Tells whether the document holds on a day by its own dates.
    pub fn holds_on(&self, day: Date) -> bool {
        self.effective_from <= day && self.effective_to.is_none_or(|last| day <= last)
    }
}

/// Checks what documents say of each other.
///
/// # Errors
/// The document at fault and a sentence: a name used twice, or a document that supersedes one that
/// is absent or did not begin before it, which also rules out circles.
pub(crate) fn check(documents: &[Document]) -> Result<(), (String, String)> {
    let find = |id: &str| documents.iter().find(|document| document.id == id);
    for (at, document) in documents.iter().enumerate() {
        let fault = |message: String| Err((document.id.clone(), message));
        if documents[..at].iter().any(|earlier| earlier.id == document.id) {
            return fault(format!("the identifier `{}` is used twice", document.id));
        }
        for old in &document.supersedes {
            match find(old) {
                None => return fault(format!("it supersedes `{old}`, which does not exist")),
                Some(old) if old.effective_from >= document.effective_from => {
                    return fault(format!(
                        "it supersedes `{}`, which does not begin before it",
                        old.id
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Cuts a text at its headings, and long sections at a line.
fn passages(body: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut heading = String::new();
    let mut text = String::new();
    let mut close = |heading: &str, text: &mut String| {
        if !text.trim().is_empty() {
            out.push((heading.to_owned(), text.trim().to_owned()));
        }
        text.clear();
    };
    for line in body.lines() {
        if let Some(title) = line.strip_prefix('#') {
            close(&heading, &mut text);
            heading = title.trim_start_matches('#').trim().to_owned();
            continue;
        }
        if text.chars().count() + line.chars().count() > MAX_PASSAGE {
            close(&heading, &mut text);
        }
        text.push_str(line);
        text.push('\n');
    }
    close(&heading, &mut text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "---\nid: a\ntitle: b\nlanguage: en\njurisdiction: TW\nsource: s\n\
        effective_from: 2024-01-01\nreview_by: 2027-01-01\nversion: 1\nEXTRA---\n## x\ntext\n";

    fn with(extra: &str) -> Result<Document, String> {
        Document::parse(&FILE.replace("EXTRA", extra))
    }

    #[test]
    fn a_document_without_a_date_is_refused_with_the_reason() {
        let error = Document::parse("---\nid: a\ntitle: b\n---\n## x\ntext").unwrap_err();
        assert!(error.contains("missing"), "{error}");
    }

    #[test]
    fn an_end_and_what_is_replaced_are_read_where_they_stand() {
        let open = with("").unwrap();
        assert!(open.effective_to.is_none() && open.supersedes.is_empty());
        let closed = with("effective_to: 2024-12-31\nsupersedes: c, d\n").unwrap();
        assert_eq!(closed.supersedes, ["c", "d"]);
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert!(closed.holds_on(day("2024-12-31")) && !closed.holds_on(day("2025-01-01")));
        assert!(!closed.holds_on(day("2023-12-31")) && open.holds_on(day("2030-01-01")));
        assert!(with("effective_to: 2023-12-31\n").unwrap_err().contains("before"));
    }

    #[test]
    fn a_document_supersedes_only_an_older_one_that_exists() {
        let new = with("supersedes: z\n").unwrap();
        let mut old = with("").unwrap();
        old.id = "z".to_owned();
        let fault = check(&[new.clone(), old.clone()]).unwrap_err();
        assert!(fault.1.contains("does not begin before"), "{fault:?}");
        old.effective_from = "2020-01-01".parse().unwrap();
        assert_eq!(check(&[new.clone(), old]), Ok(()));
        assert!(check(&[new]).unwrap_err().1.contains("does not exist"));
        let same = with("").unwrap();
        assert!(check(&[same.clone(), same]).unwrap_err().1.contains("twice"));
    }
}
