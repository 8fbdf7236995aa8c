//! Which tools a request may be about: cosine similarity of search terms with the tools' example
//! phrases and descriptions.
//!
//! # Source
//! tf-idf weights and cosine similarity as in Manning, Raghavan, Schütze, *Introduction to
//! Information Retrieval*, chapter 6. A tool's score is that of its nearest phrase, as in a nearest
//! neighbour classifier, so one good example is enough.

use std::collections::{BTreeSet, HashMap};

use jiff::civil::Date;

use crate::lang;
use crate::mention::{self, Kind, Mention};
use crate::pack::Pack;
use crate::synth::{LANGS, Phrase, Template, Templates};

/// Weight of the nearest phrase against the description.
const PHRASE: f32 = 0.8;

type Vector = HashMap<String, f32>;

/// Ranks the tools of a pack for a request.
#[derive(Debug)]
pub struct Shortlister {
    /// Per document: index of the tool, whether it is its description, unit vector of weights.
    documents: Vec<(usize, bool, Vector)>,
    weights: Weights,
    tools: usize,
}

/// Weights of terms.
#[derive(Debug)]
struct Weights {
    of: HashMap<String, f32>,
    /// That of the rarest, which unknown terms have too.
    rarest: f32,
}

impl Shortlister {
    /// Indexes the phrases and descriptions of a pack's tools.
    pub fn new(pack: &Pack, templates: &Templates) -> Self {
        let mut texts: Vec<(usize, bool, String)> = Vec::new();
        for (index, tool) in pack.tools.iter().enumerate() {
            let name = tool.name.replace('_', " ");
            texts.push((index, true, format!("{name} {} {}", tool.title, tool.description)));
            if let Some(template) = templates.tools.get(&tool.name) {
                let codes = codes_of(template);
                let said = |slot: &str| codes.get(slot).cloned().unwrap_or_default();
                for lang in LANGS {
                    let phrases = template.phrases(lang).call.iter();
                    texts
                        .extend(phrases.map(|p| (index, false, Phrase::parse(p).words_with(said))));
                }
            }
        }
        let counted: Vec<(usize, bool, Vector)> =
            texts.iter().map(|(tool, about, text)| (*tool, *about, counts(text))).collect();
        let mut seen: HashMap<String, (f32, BTreeSet<usize>)> = HashMap::new();
        for (tool, _, vector) in &counted {
            for term in vector.keys() {
                let (documents, tools) = seen.entry(term.clone()).or_default();
                *documents += 1.0;
                tools.insert(*tool);
            }
        }
        let (documents, tools) = (counted.len() as f32, pack.tools.len() as f32);
        let rarity = |all: f32, of: f32| (1.0 + all / of).ln();
        let idf: HashMap<String, f32> = seen
            .into_iter()
            .map(|(term, (in_documents, in_tools))| {
                let by_tool = rarity(tools, in_tools.len() as f32);
                (term, rarity(documents, in_documents) * by_tool)
            })
            .collect();
        let weights = Weights { rarest: idf.values().copied().fold(1.0, f32::max), of: idf };
        let documents = counted
            .into_iter()
            .map(|(tool, about, vector)| (tool, about, weighted(vector, &weights)))
            .collect();
        Self { documents, weights, tools: pack.tools.len() }
    }

    /// Returns the indices of the tools, best first. Ties keep the pack's order.
    pub fn rank(&self, words: &str) -> Vec<usize> {
        let query = weighted(counts(words), &self.weights);
        let mut phrase = vec![0f32; self.tools];
        let mut about = vec![0f32; self.tools];
        for (tool, is_about, vector) in &self.documents {
            let score: f32 = query.iter().filter_map(|(term, w)| Some(w * vector.get(term)?)).sum();
            let best = if *is_about { &mut about[*tool] } else { &mut phrase[*tool] };
            *best = best.max(score);
        }
        let score = |tool: usize| PHRASE * phrase[tool] + (1.0 - PHRASE) * about[tool];
        let mut order: Vec<usize> = (0..self.tools).collect();
        order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
        order
    }
}

/// Returns the word that stands for a code of this shape: `P0420` and `P0300` share one, so a trouble
/// code points at the tool for trouble codes even where no other word does. `None` ⇐ no code.
pub(super) fn code_word(mention: &Mention) -> Option<String> {
    matches!(mention.kind, Kind::Id { .. } | Kind::Hex { .. } | Kind::Block { .. }).then(|| {
        let letters = mention.tag().replace('#', "n");
        letters.chars().filter(char::is_ascii_alphanumeric).collect()
    })
}

/// Returns for each slot of codes the words of the codes that it draws.
fn codes_of(template: &Template) -> HashMap<String, String> {
    let word = |code: &String| {
        let found = mention::find(code, Date::default());
        found.iter().find_map(code_word)
    };
    template
        .slots
        .iter()
        .map(|(path, slot)| {
            let words: BTreeSet<String> = slot.codes().iter().filter_map(word).collect();
            (path.clone(), words.into_iter().map(|word| format!(" {word} ")).collect())
        })
        .collect()
}

fn counts(text: &str) -> Vector {
    let mut counts = Vector::new();
    for term in lang::terms(text) {
        *counts.entry(term.text).or_default() += 1.0;
    }
    counts
}

/// Weighs counts by their logarithm and idf, and scales them to length 1. Unknown terms count as
/// rare, so that a request of strangers is near to nothing.
fn weighted(mut counts: Vector, weights: &Weights) -> Vector {
    for (term, weight) in &mut counts {
        let rarity = weights.of.get(term).copied().unwrap_or(weights.rarest);
        *weight = (1.0 + weight.ln()) * rarity;
    }
    let length = counts.values().map(|w| w * w).sum::<f32>().sqrt();
    if length > 0.0 {
        counts.values_mut().for_each(|w| *w /= length);
    }
    counts
}
