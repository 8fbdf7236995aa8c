//! The index of a pack's passages and the terms that a question is looked up by.
//!
//! # Source
//! BM25 (Robertson and Zaragoza, *The Probabilistic Relevance Framework*, 2009) by tantivy, once per
//! field and summed with weights; passages inherit a part of the score of their whole document.

use std::collections::BTreeMap;

use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value as _,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{Index as Tantivy, IndexReader, TantivyDocument, Term, doc};

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
const LOOSE: f32 = 0.3;

/// Letters of a Latin word that the loose field keeps.
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

/// The passages of a pack in an inverted index in memory.
pub(super) struct Index {
    reader: IndexReader,
    fields: Fields,
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    title: Field,
    heading: Field,
    text: Field,
    whole: Field,
    loose: Field,
    at: Field,
}

impl Index {
    /// Indexes documents. Takes some milliseconds for thirty.
    pub(super) fn of(documents: &[Document]) -> tantivy::Result<Self> {
        let mut schema = Schema::builder();
        let mut field = |name: &str, tokenizer: &str| {
            let indexing = TextFieldIndexing::default()
                .set_tokenizer(tokenizer)
                .set_index_option(IndexRecordOption::WithFreqs);
            schema.add_text_field(name, TextOptions::default().set_indexing_options(indexing))
        };
        let (title, heading) = (field("title", "terms"), field("heading", "terms"));
        let (text, whole) = (field("text", "terms"), field("whole", "terms"));
        let loose = field("loose", "loose");
        let at = schema.add_u64_field("at", STORED);
        let fields = Fields { title, heading, text, whole, loose, at };
        let index = Tantivy::create_in_ram(schema.build());
        index.tokenizers().register("terms", Terms(lang::terms));
        index.tokenizers().register("loose", Terms(loose_terms));
        let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, INDEX_BYTES)?;
        for (d, document) in documents.iter().enumerate() {
            let title = format!("{} {}", document.title, places(&document.jurisdiction));
            let mut whole = format!("{title}\n");
            for (heading, text) in &document.passages {
                whole.push_str(&format!("{heading}\n{text}\n"));
            }
            for (p, (heading, text)) in document.passages.iter().enumerate() {
                writer.add_document(doc!(
                    fields.title => title.clone(),
                    fields.heading => heading.clone(),
                    fields.text => text.clone(),
                    fields.whole => whole.clone(),
                    fields.loose => whole.clone(),
                    fields.at => ((d as u64) << 16) | p as u64,
                ))?;
            }
        }
        writer.commit()?;
        Ok(Self { reader: index.reader()?, fields })
    }

    /// Returns the passages that share a term with the question, best first.
    pub(super) fn hits(&self, question: &str) -> tantivy::Result<Vec<Hit>> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        let mut add = |field: Field, text: &str, weight: f32| {
            let term = Term::from_field_text(field, text);
            let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
            clauses.push((Occur::Should, Box::new(BoostQuery::new(Box::new(query), weight))));
        };
        let fields = self.fields;
        for (term, weight) in weighted(lang::terms(question)) {
            for (field, share) in [
                (fields.title, TITLE),
                (fields.heading, HEADING),
                (fields.text, TEXT),
                (fields.whole, WHOLE),
            ] {
                add(field, &term, weight * share);
            }
        }
        for (term, weight) in weighted(loose_terms(question)) {
            add(fields.loose, &term, weight * LOOSE);
        }
        let searcher = self.reader.searcher();
        let query = BooleanQuery::new(clauses);
        let found = searcher.search(&query, &TopDocs::with_limit(MAX_HITS).order_by_score())?;
        let mut hits = Vec::with_capacity(found.len());
        for (score, address) in found {
            let stored: TantivyDocument = searcher.doc(address)?;
            if let Some(at) = stored.get_first(fields.at).and_then(|v| v.as_u64()) {
                let (document, passage) = ((at >> 16) as usize, (at & 0xffff) as usize);
                hits.push(Hit { document, passage, score });
            }
        }
        Ok(hits)
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
fn loose_terms(text: &str) -> Vec<lang::Term> {
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

    fn loose(text: &str) -> Vec<String> {
        loose_terms(text).into_iter().map(|term| term.text).collect()
    }

    #[test]
    fn loose_terms_are_single_characters_and_heads_of_words() {
        assert_eq!(loose("電費 calculated on a loan"), ["电", "费", "calcu"]);
        assert_eq!(loose("需量電"), ["需", "量", "电"]);
        assert_eq!(loose("稅"), ["税"]);
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
