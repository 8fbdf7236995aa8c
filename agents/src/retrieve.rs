//! A pack's documents, cut into passages and indexed, and the passages that answer a question as of
//! a day.
//!
//! A question is looked up by [`lang::terms`](crate::lang::terms): folded Latin words and overlapping
//! pairs of Chinese characters in simplified form, so either script finds the other.

mod as_of;
mod document;
mod rank;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::event::Citation;
use crate::pack::{Pack, PackError};
use rank::{Hit, Index};

pub use document::Document;
pub(crate) use document::check as check_documents;

/// Most passages that an answer quotes.
const MAX_QUOTED: usize = 3;

/// Share of the best score that a further passage needs. Over the questions of the four packs this
/// quotes a quarter fewer passages than a half would, and loses the right one in two of a hundred.
const QUOTED_SHARE: f32 = 0.7;

/// How much more a document counts in the language of the question, and in the other Chinese script.
const SAME_LANGUAGE: f32 = 1.2;
const SAME_WRITING: f32 = 1.1;

/// A passage that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passage {
    /// Position of the document in [`Knowledge::documents`].
    pub document: usize,
    /// Position of the passage in the document.
    pub passage: usize,
    /// BM25 score, weighted by language.
    pub score: f32,
    /// Day as of which it was asked for, where the question names one.
    pub as_of: Option<Date>,
    /// Whether the document is past the day until which it counts as reviewed.
    pub overdue: bool,
}

/// The documents of a pack and their index.
pub struct Knowledge {
    documents: Vec<Document>,
    /// Documents that explain a tool, from `cite.toml`.
    explains: BTreeMap<String, Vec<String>>,
    index: Index,
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
        document::check(&documents)
            .map_err(|(id, message)| invalid(&format!("knowledge/{id}.md"), message))?;
        let explains: BTreeMap<String, Vec<String>> = match pack.files.get("cite.toml") {
            Some(bytes) => toml::from_str(&String::from_utf8_lossy(bytes))
                .map_err(|error| invalid("cite.toml", error.to_string()))?,
            None => BTreeMap::new(),
        };
        let known = |id: &String| documents.iter().any(|document| document.id == *id);
        if let Some(id) = explains.values().flatten().find(|id| !known(id)) {
            return Err(invalid("cite.toml", format!("there is no document `{id}`")));
        }
        let index = Index::of(&documents)
            .map_err(|e| invalid("knowledge", format!("cannot index: {e}")))?;
        Ok(Self { documents, explains, index })
    }

    /// Returns the documents in order of their file names.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Returns the documents that the pack names for a tool, best first.
    pub fn explaining(&self, tool: &str) -> impl Iterator<Item = &Document> {
        let named = self.explains.get(tool).map(Vec::as_slice).unwrap_or_default();
        named.iter().filter_map(|id| self.documents.iter().find(|document| document.id == *id))
    }

    /// Returns the positions of the documents in force on a day: those whose own dates hold it and
    /// in whose place no other one has come.
    fn in_force(&self, day: Date) -> BTreeSet<usize> {
        let begun = self.documents.iter().filter(|document| document.effective_from <= day);
        let replaced: BTreeSet<&str> =
            begun.flat_map(|document| &document.supersedes).map(String::as_str).collect();
        let stands = |(_, document): &(usize, &Document)| {
            document.holds_on(day) && !replaced.contains(document.id.as_str())
        };
        self.documents.iter().enumerate().filter(stands).map(|(at, _)| at).collect()
    }

    /// Returns the best passage of each of the best documents for a question as of a day, best
    /// first. Documents that are not or no longer in force on that day, or are superseded, are left
    /// out; those in the question's language count a little more.
    pub fn search(&self, question: &str, lang: &str, day: Date, limit: usize) -> Vec<Passage> {
        let standing = self.in_force(day);
        let mut best: BTreeMap<usize, Hit> = BTreeMap::new();
        for mut hit in self.index.hits(question).unwrap_or_default() {
            if !standing.contains(&hit.document) {
                continue;
            }
            hit.score *= preference(&self.documents[hit.document].language, lang);
            let place = best.entry(hit.document).or_insert(hit);
            if hit.score > place.score {
                *place = hit;
            }
        }
        let mut found: Vec<Passage> =
            best.into_values().map(|hit| self.passage(hit, day)).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(limit);
        found
    }

    /// Returns the passage that explains what a tool did: of the documents in force that the pack
    /// names for it, one in the language if there is one, and in it the passage nearest to the
    /// question. A tool without such documents gets the best passage of all.
    pub fn explain(
        &self,
        tool: &str,
        question: &str,
        lang: &str,
        now: Timestamp,
    ) -> Option<Passage> {
        let asked = Asked::of(question, now);
        let standing = self.in_force(asked.day);
        let named = self.explains.get(tool).map(Vec::as_slice).unwrap_or_default();
        let place = |id: &String| self.documents.iter().position(|d| d.id == *id);
        let places: Vec<usize> =
            named.iter().filter_map(place).filter(|at| standing.contains(at)).collect();
        let speaks = |at: &&usize| self.documents[**at].language == lang;
        let Some(document) = places.iter().find(speaks).or(places.first()).copied() else {
            let found = self.search(&asked.text, lang, asked.day, 1).pop();
            return found.map(|passage| asked.mark(self, passage));
        };
        let hits = self.index.hits(&asked.text).unwrap_or_default();
        let near = hits.into_iter().find(|hit| hit.document == document);
        let hit = near.unwrap_or(Hit { document, passage: 0, score: 0.0 });
        Some(asked.mark(self, self.passage(hit, asked.day)))
    }

    fn passage(&self, hit: Hit, day: Date) -> Passage {
        Passage {
            document: hit.document,
            passage: hit.passage,
            score: hit.score,
            as_of: None,
            overdue: self.documents[hit.document].review_by < day,
        }
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
            overdue: hit.overdue,
            as_of: hit.as_of.map(|day| day.to_string()),
        })
    }

    /// Returns the citations that answer a question: the best passage and at most two that are
    /// nearly as good, of different documents. A question may name the day as of which it asks.
    pub fn answer(&self, question: &str, lang: &str, now: Timestamp) -> Vec<Citation> {
        let asked = Asked::of(question, now);
        let hits = self.search(&asked.text, lang, asked.day, 2 * MAX_QUOTED);
        let least = hits.first().map_or(0.0, |hit| hit.score * QUOTED_SHARE);
        let mut told: Vec<&str> = Vec::new();
        hits.iter()
            .filter(|hit| hit.score >= least)
            .filter(|hit| {
                // The same document in another language tells nothing new.
                let work = work(&self.documents[hit.document].id);
                let new = !told.contains(&work);
                told.push(work);
                new
            })
            .take(MAX_QUOTED)
            .filter_map(|hit| self.cite(&asked.mark(self, *hit)))
            .collect()
    }
}

/// Returns the identifier that a document shares with its counterparts in other languages, which
/// packs name with the language at the end (`finance-k20-zh-Hans`).
fn work(id: &str) -> &str {
    let langs = crate::synth::LANGS.iter();
    let stripped = langs.filter_map(|lang| id.strip_suffix(lang)?.strip_suffix('-')).next();
    stripped.unwrap_or(id)
}

/// A question, today, and the day as of which it is asked.
struct Asked {
    text: String,
    today: Date,
    day: Date,
    named: Option<Date>,
}

impl Asked {
    fn of(question: &str, now: Timestamp) -> Self {
        let today = now.to_zoned_datetime(TimeZone::UTC).date();
        let as_of::Asked { text, day } = as_of::read(question, today);
        let named = day.filter(|day| *day != today);
        Self { text, today, day: named.unwrap_or(today), named }
    }

    /// Adds the day that the question names, and judges the review by today where that is later: a
    /// document that nobody has looked at since is doubtful also as to the past.
    fn mark(&self, knowledge: &Knowledge, passage: Passage) -> Passage {
        let review_by = knowledge.documents[passage.document].review_by;
        let overdue = review_by < self.today.max(self.day);
        Passage { as_of: self.named, overdue, ..passage }
    }
}

fn preference(document: &str, question: &str) -> f32 {
    if document == question {
        SAME_LANGUAGE
    } else if document.starts_with("zh") && question.starts_with("zh") {
        SAME_WRITING
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::PackFiles;

    fn shipped(id: &str) -> Knowledge {
        let packs = crate::pack::shipped().unwrap();
        Knowledge::of(packs.iter().find(|pack| pack.manifest.id == id).unwrap()).unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    /// A pack of an old rule, the rule that replaced it in 2025, and a leaflet of one summer.
    fn dated() -> Knowledge {
        let document = |id: &str, dates: &str, text: &str| {
            let head = format!(
                "---\nid: {id}\ntitle: Loot box odds\nlanguage: en\njurisdiction: EU\nsource: s\n\
                 {dates}version: 1\n---\n"
            );
            (format!("knowledge/{id}.md"), format!("{head}## Rule\n{text}\n"))
        };
        let manifest = "format = 1\nid = \"games\"\nversion = \"1.0.0\"\ntitle = \"t\"\n\
                        description = \"d\"\nlanguages = [\"en\"]\n";
        let files = [
            ("pack.toml".to_owned(), manifest.to_owned()),
            document(
                "old",
                "effective_from: 2020-01-01\nreview_by: 2027-01-01\n",
                "Odds may be hidden.",
            ),
            document(
                "new",
                "effective_from: 2025-01-01\nreview_by: 2026-06-30\nsupersedes: old\n",
                "Odds are shown.",
            ),
            document(
                "summer",
                "effective_from: 2025-06-01\neffective_to: 2025-08-31\nreview_by: 2027-01-01\n",
                "Odds double in summer.",
            ),
        ];
        let files: PackFiles = files.into_iter().collect();
        Knowledge::of(&Pack::from_files("games", files).unwrap()).unwrap()
    }

    fn ids(knowledge: &Knowledge, question: &str, on: &str) -> Vec<String> {
        let mut ids: Vec<String> = knowledge
            .search(question, "en", day(on), 5)
            .iter()
            .map(|hit| knowledge.documents()[hit.document].id.clone())
            .collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_document_is_found_only_on_days_on_which_it_holds() {
        let knowledge = dated();
        for (on, expected) in [
            ("2019-12-31", vec![]),
            ("2024-12-31", vec!["old"]),
            ("2025-01-01", vec!["new"]),
            ("2025-08-31", vec!["new", "summer"]),
            ("2025-09-01", vec!["new"]),
        ] {
            assert_eq!(ids(&knowledge, "loot box odds", on), expected, "{on}");
        }
    }

    #[test]
    fn a_question_may_name_its_day_and_an_overdue_document_is_marked() {
        let knowledge = dated();
        let now = "2026-11-24T00:00:00Z".parse().unwrap();
        let cited = |question: &str| {
            knowledge
                .answer(question, "en", now)
                .into_iter()
                .map(|citation| match citation {
                    Citation::Document { document, overdue, as_of, .. } => {
                        (document, overdue, as_of)
                    }
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(cited("loot box odds"), [("new".to_owned(), true, None)]);
        let past = cited("loot box odds as of 2024-03-01");
        assert_eq!(past, [("old".to_owned(), false, Some("2024-03-01".to_owned()))]);
        // Not reviewed since, so doubtful for the past as well.
        let late = cited("loot box odds as of 2025-03-01");
        assert_eq!(late, [("new".to_owned(), true, Some("2025-03-01".to_owned()))]);
    }

    #[test]
    fn a_document_and_its_counterpart_are_quoted_once() {
        assert_eq!(work("finance-k20-zh-Hans"), work("finance-k20"));
        assert_eq!(work("finance-k20-en"), "finance-k20");
        let knowledge = shipped("gaming");
        let now = "2026-11-24T00:00:00Z".parse().unwrap();
        for (question, lang) in [
            ("How many pulls until the guaranteed character?", "en"),
            ("退款後要怎麼處理帳號裡的道具？", "zh-Hant"),
        ] {
            let cited = knowledge.answer(question, lang, now);
            let works: BTreeSet<String> = cited
                .iter()
                .map(|citation| match citation {
                    Citation::Document { document, .. } => work(document).to_owned(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(!cited.is_empty() && works.len() == cited.len(), "{cited:?}");
        }
    }

    #[test]
    fn a_question_finds_its_document_in_either_script() {
        let knowledge = shipped("energy");
        let now = day("2026-11-24");
        let titles = |question: &str, lang: &str| -> Vec<String> {
            let found = knowledge.search(question, lang, now, 5);
            found.iter().map(|hit| knowledge.documents()[hit.document].title.clone()).collect()
        };
        let found = titles("How is a demand charge worked out?", "en");
        assert!(found.iter().any(|title| title.contains("Demand charges")), "{found:?}");
        assert_eq!(titles("需量電費怎麼算", "zh-Hant")[0], titles("需量电费怎么算", "zh-Hant")[0]);
    }

    #[test]
    fn the_documents_found_are_distinct() {
        let knowledge = shipped("finance");
        let found = knowledge.search("value at risk", "en", day("2026-11-24"), 5);
        let documents: BTreeSet<usize> = found.iter().map(|hit| hit.document).collect();
        assert_eq!((found.len(), documents.len()), (5, 5));
    }

    #[test]
    fn an_answer_cites_the_document_that_explains_its_tool_in_its_language() {
        let knowledge = shipped("finance");
        let now = "2026-11-24T00:00:00Z".parse().unwrap();
        let question = "What is the monthly payment on a loan at 6%?";
        for (lang, id) in [("en", "finance-k31"), ("zh-Hans", "finance-k23")] {
            let best = knowledge.explain("loan_schedule", question, lang, now).unwrap();
            assert_eq!(knowledge.documents()[best.document].id, id);
        }
    }

    #[test]
    fn what_is_not_yet_in_force_is_not_cited() {
        let knowledge = shipped("energy");
        assert!(knowledge.search("demand charge", "en", day("1990-01-01"), 5).is_empty());
    }
}
