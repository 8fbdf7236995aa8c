//! The index of a pack's passages and the terms that a question is looked up by.
//!
//! # Source
//! BM25 (Robertson and Zaragoza, *The Probabilistic Relevance Framework*, 2009) by tantivy, once per
//! field and summed with weights; a passage has the score of its document as a whole added to its own.

use std::collections::{BTreeMap, BTreeSet};

use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value as _,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{Index as Tantivy, IndexReader, TantivyDocument, Term};

use super::document::Document;
use crate::lang;

/// Memory that indexing may use, bytes. The least that tantivy accepts.
const INDEX_BYTES: usize = 15_000_000;

/// Most hits that one question is followed through.
const MAX_HITS: usize = 2000;

/// Most terms of a question that are looked up; a pasted document would bring thousands.
const MAX_TERMS: usize = 256;

/// How much a term counts in each field; one in the passage's text counts 1.
const TITLE: f32 = 2.0;
const HEADING: f32 = 1.2;
const TEXT: f32 = 1.0;
const WHOLE: f32 = 0.6;
const COARSE: f32 = 0.6;

/// Letters of a Latin word that the coarse field keeps.
const STUB: usize = 5;

/// Weight of a pair of Chinese characters that may well be grammar rather than matter.
const HALF: f32 = 0.4;

/// Chinese characters that only hold a question together.
const GRAMMAR: &str = "的了吗呢吧啊么什怎哪这那们我你您他她它请把被跟就都也还嘛喔";

/// Chinese characters that often do.
const LIGHT: &str = "是在和与或及要能会可有没不多少几个如何问时后前上下里为以到从对之其";

/// Names of jurisdictions, so that a question may say a place in words.
const PLACES: [(&str, &str); 12] = [
    ("CN", "China Chinese mainland 中国 中国大陆 大陆 内地"),
    ("TW", "Taiwan Taiwanese 台湾 臺灣"),
    ("HK", "Hong Kong 香港"),
    ("US", "United States America American US 美国"),
    ("EU", "European Union Europe European EU 欧盟 欧洲"),
    ("UK", "United Kingdom Britain British UK 英国"),
    ("GB", "United Kingdom Britain British UK 英国"),
    ("JP", "Japan Japanese 日本"),
    ("SG", "Singapore 新加坡"),
    ("KR", "Korea Korean 韩国"),
    ("DE", "Germany German 德国"),
    ("AU", "Australia Australian 澳洲 澳大利亚"),
];

/// Where a hit is, and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hit {
    pub(super) document: usize,
    pub(super) passage: usize,
    pub(super) score: f32,
}

/// The passages of a pack, and its documents as wholes, in inverted indexes in memory.
pub(super) struct Index {
    passages: Shelf,
    documents: Shelf,
}

impl Index {
    /// Indexes documents. Takes some milliseconds for thirty.
    pub(super) fn of(documents: &[Document]) -> tantivy::Result<Self> {
        let mut passages = Vec::new();
        let mut wholes = Vec::new();
        for (d, document) in documents.iter().enumerate() {
            let title = format!("{} {}", document.title, places(&document.jurisdiction));
            let mut whole = format!("{title}\n");
            for (p, (heading, text)) in document.passages.iter().enumerate() {
                whole.push_str(&format!("{heading}\n{text}\n"));
                passages.push((place(d, p), vec![title.clone(), heading.clone(), text.clone()]));
            }
            wholes.push((place(d, 0), vec![whole.clone(), whole]));
        }
        Ok(Self {
            passages: Shelf::of(
                &[(Split::Fine, TITLE), (Split::Fine, HEADING), (Split::Fine, TEXT)],
                passages,
            )?,
            documents: Shelf::of(&[(Split::Fine, WHOLE), (Split::Coarse, COARSE)], wholes)?,
        })
    }

    /// Returns the passages of the documents that share a term with the question, best first; a
    /// document of which no passage does by itself is there with its first.
    pub(super) fn hits(&self, question: &str) -> tantivy::Result<Vec<Hit>> {
        let terms = Sought {
            fine: weighted(lang::terms(question)),
            coarse: weighted(coarse_terms(question)),
        };
        let mut wholes: BTreeMap<usize, f32> = BTreeMap::new();
        for (score, at) in self.documents.search(&terms)? {
            wholes.insert(apart(at).0, score);
        }
        let mut hits = Vec::new();
        let mut seen = BTreeSet::new();
        for (score, at) in self.passages.search(&terms)? {
            let (document, passage) = apart(at);
            seen.insert(document);
            let whole = wholes.get(&document).copied().unwrap_or_default();
            hits.push(Hit { document, passage, score: score + whole });
        }
        let alone = wholes.into_iter().filter(|(document, _)| !seen.contains(document));
        hits.extend(alone.map(|(document, score)| Hit { document, passage: 0, score }));
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(hits)
    }
}

/// Packs the positions of a document and of a passage in it.
fn place(document: usize, passage: usize) -> u64 {
    ((document as u64) << 16) | passage as u64
}

fn apart(at: u64) -> (usize, usize) {
    ((at >> 16) as usize, (at & 0xffff) as usize)
}

/// How a field is cut into terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    /// [`lang::terms`].
    Fine,
    /// [`coarse_terms`].
    Coarse,
}

/// The terms of a question with their weights, cut in both ways.
struct Sought {
    fine: BTreeMap<String, f32>,
    coarse: BTreeMap<String, f32>,
}

/// One inverted index of texts with several fields.
struct Shelf {
    reader: IndexReader,
    fields: Vec<(Field, Split, f32)>,
    at: Field,
}

impl Shelf {
    /// Indexes texts by their places; each has a text for each field.
    fn of(kinds: &[(Split, f32)], entries: Vec<(u64, Vec<String>)>) -> tantivy::Result<Self> {
        let mut schema = Schema::builder();
        let mut fields = Vec::new();
        for (i, (split, weight)) in kinds.iter().enumerate() {
            let indexing = TextFieldIndexing::default()
                .set_tokenizer(if *split == Split::Fine { "fine" } else { "coarse" })
                .set_index_option(IndexRecordOption::WithFreqs);
            let options = TextOptions::default().set_indexing_options(indexing);
            fields.push((schema.add_text_field(&format!("field {i}"), options), *split, *weight));
        }
        let at = schema.add_u64_field("at", STORED);
        let index = Tantivy::create_in_ram(schema.build());
        index.tokenizers().register("fine", Terms(lang::terms));
        index.tokenizers().register("coarse", Terms(coarse_terms));
        let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, INDEX_BYTES)?;
        for (key, texts) in entries {
            let mut entry = TantivyDocument::new();
            entry.add_u64(at, key);
            for ((field, _, _), text) in fields.iter().zip(texts) {
                entry.add_text(*field, text);
            }
            writer.add_document(entry)?;
        }
        writer.commit()?;
        Ok(Self { reader: index.reader()?, fields, at })
    }

    /// Returns the scores and places of the texts that share a term, best first.
    fn search(&self, sought: &Sought) -> tantivy::Result<Vec<(f32, u64)>> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for (field, split, share) in &self.fields {
            let terms = if *split == Split::Fine { &sought.fine } else { &sought.coarse };
            for (text, weight) in terms {
                let term = Term::from_field_text(*field, text);
                let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
                let query = BoostQuery::new(Box::new(query), weight * share);
                clauses.push((Occur::Should, Box::new(query)));
            }
        }
        let searcher = self.reader.searcher();
        let query = BooleanQuery::new(clauses);
        let found = searcher.search(&query, &TopDocs::with_limit(MAX_HITS).order_by_score())?;
        let mut places = Vec::with_capacity(found.len());
        for (score, address) in found {
            let stored: TantivyDocument = searcher.doc(address)?;
            places.extend(stored.get_first(self.at).and_then(|v| v.as_u64()).map(|at| (score, at)));
        }
        Ok(places)
    }
}

fn places(jurisdiction: &str) -> String {
    let codes = jurisdiction.split(|c: char| !c.is_ascii_alphanumeric());
    let names = codes.filter_map(|code| PLACES.iter().find(|(known, _)| *known == code));
    names.map(|(_, names)| *names).collect::<Vec<_>>().join(" ")
}

/// Returns each term of a question once, with its weight; those that say nothing are left out, and
/// so are those after the first [`MAX_TERMS`].
fn weighted(terms: Vec<lang::Term>) -> BTreeMap<String, f32> {
    let mut weights = BTreeMap::new();
    for term in terms {
        if weights.len() == MAX_TERMS {
            break;
        }
        let grammar = |set: &str| term.text.chars().filter(|c| set.contains(*c)).count();
        if lang::is_stop(&term.text) || grammar(GRAMMAR) > 0 {
            continue;
        }
        let weight = if grammar(LIGHT) > 0 { HALF } else { 1.0 };
        weights.insert(term.text, weight);
    }
    weights
}

/// Splits a text into coarser terms than [`lang::terms`]: single Chinese characters, and the first
/// letters of Latin words, so that `calculated` finds `calculation` and `電價` finds `電費`.
fn coarse_terms(text: &str) -> Vec<lang::Term> {
    let mut out = Vec::new();
    for term in lang::terms(text) {
        let mut chars = term.text.chars();
        let Some(first) = chars.next() else { continue };
        if lang::is_cjk(first) {
            // Pairs overlap: the first of each is every character but the last of a run.
            let last = chars.next().filter(|_| !continues(text, term.end));
            let start = term.start;
            out.push(lang::Term { text: first.to_string(), ..term.clone() });
            out.extend(last.map(|c| lang::Term { text: c.to_string(), start, end: term.end }));
        } else if term.text.len() >= STUB {
            let stub = term.text.chars().take(STUB).collect();
            out.push(lang::Term { text: stub, ..term });
        }
    }
    out
}

fn continues(text: &str, end: usize) -> bool {
    text[end..].chars().next().is_some_and(lang::is_cjk)
}

/// A splitter of texts as a tokenizer of the index.
#[derive(Debug, Clone)]
struct Terms(fn(&str) -> Vec<lang::Term>);

struct TermStream {
    terms: std::vec::IntoIter<lang::Term>,
    token: Token,
}

impl Tokenizer for Terms {
    type TokenStream<'a> = TermStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> TermStream {
        TermStream { terms: (self.0)(text).into_iter(), token: Token::default() }
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

    fn coarse(text: &str) -> Vec<String> {
        coarse_terms(text).into_iter().map(|term| term.text).collect()
    }

    #[test]
    fn coarse_terms_are_single_characters_and_heads_of_words() {
        assert_eq!(coarse("電費 calculated on a loan"), ["电", "费", "calcu"]);
        assert_eq!(coarse("需量電"), ["需", "量", "电"]);
        assert_eq!(coarse("稅"), ["税"]);
    }

    #[test]
    fn words_of_grammar_are_not_looked_up_and_light_ones_count_less() {
        let weights = weighted(lang::terms("我們的需量電費是怎麼算"));
        assert_eq!(weights.get("需量"), Some(&1.0));
        assert!(!weights.contains_key("的需") && !weights.contains_key("怎么"));
        assert_eq!(weights.get("费是"), Some(&HALF));
    }

    #[test]
    fn a_pasted_document_is_looked_up_by_its_first_terms() {
        let pasted: String = (0..5000).map(|i| format!("word{i} ")).collect();
        let weights = weighted(lang::terms(&pasted));
        assert_eq!(weights.len(), MAX_TERMS);
        assert!(weights.contains_key("word0") && !weights.contains_key("word4999"));
    }

    #[test]
    fn a_jurisdiction_is_found_by_its_name() {
        assert!(places("TW").contains("台湾") && places("US, EU").contains("European"));
        assert_eq!(places("global"), "");
    }
}
