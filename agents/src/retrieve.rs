//! A pack's documents, cut into passages and indexed, and the passages that answer a question.
//!
//! # Source
//! BM25 ranking by tantivy over [`lang::terms`]: folded Latin words and overlapping pairs of
//! Chinese characters in simplified form, so either script finds the other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value as _,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{Index, IndexReader, Searcher, TantivyDocument, Term, doc};

use crate::event::Citation;
use crate::lang;
use crate::pack::{Pack, PackError};

/// Longest passage in characters; a longer section is cut at a line.
const MAX_PASSAGE: usize = 900;

/// Passages that an answer quotes.
const MAX_QUOTED: usize = 3;

/// Memory that indexing may use, bytes. The least that tantivy accepts.
const INDEX_BYTES: usize = 15_000_000;

/// Most hits that one question is followed through.
const MAX_HITS: usize = 2000;

/// How much more a word of the title counts than one of the text.
const TITLE: f32 = 2.0;

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
    /// Day until which it counts as reviewed.
    pub review_by: Date,
    /// Version.
    pub version: String,
    /// Heading and text of each passage.
    pub passages: Vec<(String, String)>,
}

impl Document {
    /// Reads a Markdown file with front matter of `key: value` lines.
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
        let field = |name: &str| {
            let value = fields.get(name).filter(|value| !value.is_empty());
            value.map(|v| (*v).to_owned()).ok_or(format!("`{name}` is missing in the front matter"))
        };
        let day = |name: &str| {
            field(name)?.parse::<Date>().map_err(|e| format!("`{name}` is no date: {e}"))
        };
        let passages = passages(body);
        if passages.is_empty() {
            return Err("the document has no text".to_owned());
        }
        Ok(Self {
            id: field("id")?,
            title: field("title")?,
            language: field("language")?,
            jurisdiction: field("jurisdiction")?,
            source: field("source")?,
            effective_from: day("effective_from")?,
            review_by: day("review_by")?,
            version: field("version")?,
            passages,
        })
    }
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

/// A passage that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Position of the document in [`Knowledge::documents`].
    pub document: usize,
    /// Position of the passage in the document.
    pub passage: usize,
    /// BM25 score.
    pub score: f32,
}

/// The documents of a pack and their index.
pub struct Knowledge {
    documents: Vec<Document>,
    /// Documents that explain a tool, from `cite.toml`.
    explains: BTreeMap<String, Vec<String>>,
    reader: IndexReader,
    fields: Fields,
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    title: Field,
    text: Field,
    at: Field,
}

impl Knowledge {
    /// Reads and indexes `knowledge/*.md` of a pack. Takes some milliseconds for thirty documents.
    ///
    /// # Errors
    /// [`PackError::Invalid`] naming the document and what is wrong with it.
    pub fn of(pack: &Pack) -> Result<Self, PackError> {
        let invalid = |file: &str, message: String| PackError::Invalid {
            pack: pack.manifest.id.clone(),
            file: file.to_owned(),
            message,
        };
        let mut documents = Vec::new();
        for (path, bytes) in pack.files.below("knowledge/").filter(|(p, _)| p.ends_with(".md")) {
            let text = std::str::from_utf8(bytes).map_err(|e| invalid(path, e.to_string()))?;
            documents.push(Document::parse(text).map_err(|message| invalid(path, message))?);
        }
        let explains: BTreeMap<String, Vec<String>> = match pack.files.get("cite.toml") {
            Some(bytes) => toml::from_str(&String::from_utf8_lossy(bytes))
                .map_err(|error| invalid("cite.toml", error.to_string()))?,
            None => BTreeMap::new(),
        };
        let known = |id: &String| documents.iter().any(|document| document.id == *id);
        if let Some(id) = explains.values().flatten().find(|id| !known(id)) {
            return Err(invalid("cite.toml", format!("there is no document `{id}`")));
        }
        let (reader, fields) =
            index(&documents).map_err(|e| invalid("knowledge", format!("cannot index: {e}")))?;
        Ok(Self { documents, explains, reader, fields })
    }

    /// Returns the documents in order of their file names.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Returns the best passages for a question as of a day, best first: documents that are not yet
    /// in force are left out, those of the question's language come first among equals.
    pub fn search(&self, question: &str, lang: &str, now: Timestamp, limit: usize) -> Vec<Passage> {
        let today = now.to_zoned_datetime(TimeZone::UTC).date();
        let searcher = self.reader.searcher();
        let mut found = self.hits(&searcher, question, limit * 8 + 20).unwrap_or_default();
        found.retain(|hit| self.documents[hit.document].effective_from <= today);
        for hit in &mut found {
            if self.documents[hit.document].language == lang {
                hit.score *= 1.15;
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(limit);
        found
    }

    /// Returns the passage that explains what a tool did: of the documents that the pack names for
    /// it, one in the language if there is one, and in it the passage nearest to the question. A
    /// tool without such documents gets the best passage of all.
    pub fn explain(
        &self,
        tool: &str,
        question: &str,
        lang: &str,
        now: Timestamp,
    ) -> Option<Passage> {
        let named = self.explains.get(tool).map(Vec::as_slice).unwrap_or_default();
        let place = |id: &String| self.documents.iter().position(|d| d.id == *id);
        let places: Vec<usize> = named.iter().filter_map(place).collect();
        let speaks = |at: &&usize| self.documents[**at].language == lang;
        let Some(document) = places.iter().find(speaks).or(places.first()).copied() else {
            return self.search(question, lang, now, 1).pop();
        };
        let hits = self.hits(&self.reader.searcher(), question, MAX_HITS).unwrap_or_default();
        let near = hits.into_iter().find(|hit| hit.document == document);
        Some(near.unwrap_or(Passage { document, passage: 0, score: 0.0 }))
    }

    fn hits(
        &self,
        searcher: &Searcher,
        question: &str,
        limit: usize,
    ) -> tantivy::Result<Vec<Passage>> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for term in lang::terms(question).into_iter().filter(|term| !lang::is_stop(&term.text)) {
            for (field, weight) in [(self.fields.title, TITLE), (self.fields.text, 1.0)] {
                let term = Term::from_field_text(field, &term.text);
                let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
                clauses.push((Occur::Should, Box::new(BoostQuery::new(Box::new(query), weight))));
            }
        }
        let query = BooleanQuery::new(clauses);
        let hits = searcher.search(&query, &TopDocs::with_limit(limit).order_by_score())?;
        let mut out = Vec::with_capacity(hits.len());
        for (score, address) in hits {
            let stored: TantivyDocument = searcher.doc(address)?;
            let Some(at) = stored.get_first(self.fields.at).and_then(|v| v.as_u64()) else {
                continue;
            };
            let (document, passage) = ((at >> 16) as usize, (at & 0xffff) as usize);
            out.push(Passage { document, passage, score });
        }
        Ok(out)
    }

    /// Returns the citation of a passage.
    pub fn cite(&self, hit: &Passage) -> Option<Citation> {
        let document = self.documents.get(hit.document)?;
        let (heading, quote) = document.passages.get(hit.passage)?;
        Some(Citation::Document {
            document: document.id.clone(),
            title: document.title.clone(),
            version: document.version.clone(),
            passage: hit.passage,
            heading: heading.clone(),
            quote: quote.clone(),
            source: document.source.clone(),
            review_by: document.review_by.to_string(),
        })
    }

    /// Returns the citations that answer a question, at most three and from documents that score at
    /// least half of the best.
    pub fn answer(&self, question: &str, lang: &str, now: Timestamp) -> Vec<Citation> {
        let hits = self.search(question, lang, now, MAX_QUOTED);
        let best = hits.first().map_or(0.0, |hit| hit.score);
        hits.iter().filter(|hit| hit.score >= best / 2.0).filter_map(|hit| self.cite(hit)).collect()
    }
}

fn index(documents: &[Document]) -> tantivy::Result<(IndexReader, Fields)> {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("terms")
        .set_index_option(IndexRecordOption::WithFreqs);
    let options = TextOptions::default().set_indexing_options(indexing);
    let mut schema = Schema::builder();
    let fields = Fields {
        title: schema.add_text_field("title", options.clone()),
        text: schema.add_text_field("text", options),
        at: schema.add_u64_field("at", STORED),
    };
    let index = Index::create_in_ram(schema.build());
    index.tokenizers().register("terms", Terms);
    let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, INDEX_BYTES)?;
    for (d, document) in documents.iter().enumerate() {
        for (p, (heading, text)) in document.passages.iter().enumerate() {
            writer.add_document(doc!(
                fields.title => format!("{} {heading}", document.title),
                fields.text => text.clone(),
                fields.at => ((d as u64) << 16) | p as u64,
            ))?;
        }
    }
    writer.commit()?;
    Ok((index.reader()?, fields))
}

/// [`lang::terms`] as a tokenizer of the index.
#[derive(Debug, Clone, Default)]
struct Terms;

struct TermStream {
    terms: std::vec::IntoIter<lang::Term>,
    token: Token,
}

impl Tokenizer for Terms {
    type TokenStream<'a> = TermStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> TermStream {
        TermStream { terms: lang::terms(text).into_iter(), token: Token::default() }
    }
}

impl TokenStream for TermStream {
    fn advance(&mut self) -> bool {
        let Some(term) = self.terms.next() else { return false };
        self.token.text = term.text;
        self.token.offset_from = term.start;
        self.token.offset_to = term.end;
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_a_date_is_refused_with_the_reason() {
        let error = Document::parse("---\nid: a\ntitle: b\n---\n## x\ntext").unwrap_err();
        assert!(error.contains("missing"), "{error}");
    }

    #[test]
    fn a_question_finds_its_document_in_either_script() {
        let pack =
            crate::pack::shipped().unwrap().iter().find(|p| p.manifest.id == "energy").unwrap();
        let knowledge = Knowledge::of(pack).unwrap();
        let now = "2026-11-24T00:00:00Z".parse().unwrap();
        let found = knowledge.search("How is a demand charge worked out?", "en", now, 5);
        let titles: Vec<&str> =
            found.iter().map(|hit| knowledge.documents()[hit.document].title.as_str()).collect();
        assert!(titles.iter().any(|t| t.contains("Demand charges")), "{titles:?}");
        let found = knowledge.search("需量电费怎么算", "zh-Hans", now, 5);
        assert!(!found.is_empty());
    }

    #[test]
    fn an_answer_cites_the_document_that_explains_its_tool_in_its_language() {
        let packs = crate::pack::shipped().unwrap();
        let pack = packs.iter().find(|p| p.manifest.id == "finance").unwrap();
        let knowledge = Knowledge::of(pack).unwrap();
        let now = "2026-11-24T00:00:00Z".parse().unwrap();
        let question = "What is the monthly payment on a loan at 6%?";
        for (lang, id) in [("en", "finance-k31"), ("zh-Hans", "finance-k23")] {
            let best = knowledge.explain("loan_schedule", question, lang, now).unwrap();
            assert_eq!(knowledge.documents()[best.document].id, id);
        }
    }

    #[test]
    fn what_is_not_yet_in_force_is_not_cited() {
        let pack =
            crate::pack::shipped().unwrap().iter().find(|p| p.manifest.id == "energy").unwrap();
        let knowledge = Knowledge::of(pack).unwrap();
        let long_ago = "1990-01-01T00:00:00Z".parse().unwrap();
        assert!(knowledge.search("demand charge", "en", long_ago, 5).is_empty());
    }
}
