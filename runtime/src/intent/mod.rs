//! What a request asks for and what its values are, told by words alone: linear classifiers over
//! character n-grams.
//!
//! A planner has two questions to answer: which of a domain's tools a request is for, and what their
//! arguments are. The first one is a matter of words, and on it a linear model trained in seconds is
//! more often right than a small decoder trained for hours; the second one needs the decoder. So a
//! planner may have both: this model bounds which steps the decoder can begin with.
//!
//! A domain's labels are scored each for itself, so a request may have several (two tasks in one
//! breath).
//!
//! Which argument a value is for is a matter of words too, of those on its two sides. So there is a
//! second kind, one classifier for each call of a domain (`domain/call`), which scores for each reference
//! of a request (`[$2 pct]`) the places of the call's arguments that it may fill.
//!
//! # Source
//! One-vs-rest logistic regression on tf-idf of character n-grams; the features as in Cavnar and
//! Trenkle 1994, *N-Gram-Based Text Categorization*, weights and cosine normalisation as in Manning,
//! Raghavan, Schütze, *Introduction to Information Retrieval*, chapter 6; step sizes after Bottou 2012,
//! *Stochastic Gradient Descent Tricks*.

mod around;
mod features;
mod file;
mod fit;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::f16;

use features::counts;
pub use file::IntentError;
use fit::{Sample, Size};

/// Name of the file in a planner's folder.
pub const INTENTS_FILE: &str = "intents.safetensors";

/// A request of a training set, and what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled<'a> {
    /// The domain, whose labels are told from each other.
    pub domain: &'a str,
    /// The request as the planner sees it.
    pub text: &'a str,
    /// Its labels, at least one.
    pub labels: &'a [String],
}

/// A request of a training set, and the places of one call's arguments that its references fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointed<'a> {
    /// The domain.
    pub domain: &'a str,
    /// The call.
    pub call: &'a str,
    /// The request as the planner sees it.
    pub text: &'a str,
    /// The places of each reference; one that is not here fills nothing.
    pub places: &'a BTreeMap<usize, Vec<String>>,
    /// What the call chooses among literals, `PLACE=LITERAL`.
    pub choices: &'a [String],
}

/// Label of a reference that fills nothing, and of a request that chooses nothing.
pub const NOTHING: &str = "";

/// The places that a reference may fill, each with its probability.
pub type Places<'a> = (usize, Vec<(&'a str, f32)>);

/// Size of the classifier of a domain's requests.
const OF_REQUESTS: Size = Size { features: 40_000, weights: 150_000 };

/// Size of the classifier of one call's references.
const OF_REFERENCES: Size = Size { features: 12_000, weights: 40_000 };

/// Size of the classifier of one call's choices.
const OF_CHOICES: Size = Size { features: 8_000, weights: 20_000 };

/// Size of the classifier of the names of a domain's arguments.
const OF_NAMES: Size = Size { features: 30_000, weights: 150_000 };

/// Classifiers of one or more domains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intents {
    /// By the name of the domain, or of the domain and the call.
    domains: BTreeMap<String, Domain>,
}

/// One classifier. Weights are kept where they matter, eight bits each.
#[derive(Debug, Clone, Default, PartialEq)]
struct Domain {
    labels: Vec<String>,
    /// One a label.
    bias: Vec<f32>,
    /// Hashes of the features that are known, ascending.
    features: Vec<u32>,
    /// Inverse document frequency of each.
    idf: Vec<f16>,
    /// Where the weights of each begin; one more than features.
    starts: Vec<u32>,
    /// Label and weight in units of `scale`.
    weights: Vec<(u8, i8)>,
    scale: f32,
}

impl Intents {
    /// Fits a classifier for each domain of the examples. The same examples in the same order and the
    /// same seed give the same classifiers.
    pub fn fit<'a>(examples: impl IntoIterator<Item = Labelled<'a>>, seed: u64) -> Self {
        let mut by_domain: BTreeMap<&str, Vec<Labelled<'a>>> = BTreeMap::new();
        for example in examples {
            by_domain.entry(example.domain).or_default().push(example);
        }
        let samples = by_domain.into_iter().map(|(name, examples)| {
            let sample =
                |e: Labelled<'a>| Sample { counts: counts(e.text), labels: e.labels.into() };
            (name.to_owned(), examples.into_iter().map(sample).collect())
        });
        let samples: Vec<_> = samples.collect();
        Self { domains: fitted(&samples, OF_REQUESTS, seed) }
    }

    /// Fits classifiers for the references and for the choices of each call of each domain. The same examples in the same
    /// order and the same seed give the same classifiers.
    pub fn fit_places<'a>(examples: impl IntoIterator<Item = Pointed<'a>>, seed: u64) -> Self {
        let nothing = [NOTHING.to_owned()];
        let mut by_call: BTreeMap<String, Vec<Sample<'_>>> = BTreeMap::new();
        let mut by_domain: BTreeMap<String, Vec<Sample<'_>>> = BTreeMap::new();
        let mut choices: BTreeMap<String, Vec<Sample<'_>>> = BTreeMap::new();
        for example in examples {
            let chosen = if example.choices.is_empty() { &nothing } else { example.choices };
            let named: Vec<String> = chosen.iter().map(|c| named(c)).collect();
            let counts = counts(example.text);
            for (call, labels) in [(example.call, chosen.to_vec()), (ALL_CALLS, named)] {
                let sample = Sample { counts: counts.clone(), labels: labels.into() };
                choices.entry(choices_of(example.domain, call)).or_default().push(sample);
            }
            let call = by_call.entry(name_of(example.domain, example.call)).or_default();
            let domain = by_domain.entry(name_of(example.domain, ALL_CALLS)).or_default();
            for (id, counts) in around::references(example.text) {
                let labels = example.places.get(&id).map_or(&nothing[..], |places| &places[..]);
                let mut leaves: Vec<String> = labels.iter().map(|l| name_at(l)).collect();
                leaves.dedup();
                domain.push(Sample { counts: counts.clone(), labels: leaves.into() });
                call.push(Sample { counts, labels: labels.to_vec().into() });
            }
        }
        let mut domains = BTreeMap::new();
        for (samples, size) in
            [(by_call, OF_REFERENCES), (by_domain, OF_NAMES), (choices, OF_CHOICES)]
        {
            let samples: Vec<_> = samples.into_iter().collect();
            domains.extend(fitted(&samples, size, seed));
        }
        Self { domains }
    }

    /// Takes over the domains of an earlier one that this one lacks.
    #[must_use]
    pub fn or(mut self, earlier: Self) -> Self {
        for (name, domain) in earlier.domains {
            self.domains.entry(name).or_insert(domain);
        }
        self
    }

    /// Tells whether no domain is known.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Returns the probability of each label of a domain, in the order of their names; `None` ⇐ the
    /// domain is not known.
    pub fn score(&self, domain: &str, text: &str) -> Option<Vec<(&str, f32)>> {
        Some(self.domains.get(domain)?.labelled(&counts(text)).collect())
    }

    /// Returns for each reference of a request the places of a call's arguments that it may fill, and
    /// [`NOTHING`], with the probability of each; `None` ⇐ the call is not known.
    pub fn places(&self, domain: &str, call: &str, text: &str) -> Option<Vec<Places<'_>>> {
        let known = self.domains.get(&name_of(domain, call))?;
        let names = self.domains.get(&name_of(domain, ALL_CALLS));
        let references = around::references(text).into_iter();
        Some(references.map(|(id, counts)| (id, known.with(names, &counts, name_at))).collect())
    }

    /// Returns how likely a request makes each choice among the literals of a call, `PLACE=LITERAL`;
    /// `None` ⇐ the call's choices are not known.
    pub fn choices(&self, domain: &str, call: &str, text: &str) -> Option<Vec<(&str, f32)>> {
        let known = self.domains.get(&choices_of(domain, call))?;
        let names = self.domains.get(&choices_of(domain, ALL_CALLS));
        let chosen = known.with(names, &counts(text), named).into_iter();
        Some(chosen.filter(|(choice, _)| *choice != NOTHING).collect())
    }
}

/// Fits one classifier for each name, on all cores.
fn fitted(
    samples: &[(String, Vec<Sample<'_>>)],
    size: Size,
    seed: u64,
) -> BTreeMap<String, Domain> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut own = Vec::new();
        while let Some((name, samples)) = samples.get(next.fetch_add(1, Ordering::Relaxed)) {
            own.extend(fit::domain(samples, size, seed).map(|domain| (name.clone(), domain)));
        }
        own
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all: BTreeMap<String, Domain> = work().into_iter().collect();
        for other in others {
            match other.join() {
                Ok(domains) => all.extend(domains),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// Stands for every call of a domain.
const ALL_CALLS: &str = "*";

fn name_of(domain: &str, call: &str) -> String {
    format!("{domain}/{call}")
}

fn choices_of(domain: &str, call: &str) -> String {
    format!("{domain}/{call}=")
}

/// Returns the name of the argument at a place: `kwh` of `/lines/*/kwh`, `codes` of `/codes/*`.
fn name_at(place: &str) -> String {
    place.trim_end_matches("/*").rsplit('/').next().unwrap_or(place).to_owned()
}

/// Returns a choice by the name of its argument: `rules=all` of `/rules/*=all`.
fn named(choice: &str) -> String {
    choice
        .split_once('=')
        .map_or_else(String::new, |(place, literal)| format!("{}={literal}", name_at(place)))
}

impl Domain {
    /// Returns each label of a call with its probability. `names` has learned from all calls of the
    /// domain what an argument of some name looks like, so that one call profits from the phrases of
    /// the others; the two are averaged as logits. `named` says by which name it knows a label.
    fn with(
        &self,
        names: Option<&Self>,
        counts: &[(u32, u32)],
        named: impl Fn(&str) -> String,
    ) -> Vec<(&str, f32)> {
        let of_names: Vec<(&str, f32)> =
            names.map(|names| names.labelled(counts).collect()).unwrap_or_default();
        let own = self.labelled(counts);
        own.map(|(label, p)| {
            let name = named(label);
            let other = of_names.iter().find(|(known, _)| *known == name);
            (label, other.map_or(p, |(_, q)| sigmoid(0.5 * (logit(p) + logit(*q)))))
        })
        .collect()
    }

    /// Returns each label with its probability.
    fn labelled(&self, counts: &[(u32, u32)]) -> impl Iterator<Item = (&str, f32)> + use<'_> {
        self.labels.iter().map(String::as_str).zip(self.score(counts))
    }

    fn score(&self, counts: &[(u32, u32)]) -> Vec<f32> {
        let mut known: Vec<(usize, f32)> = counts
            .iter()
            .filter_map(|(hash, count)| {
                let at = self.features.binary_search(hash).ok()?;
                Some((at, features::weight(*count, self.idf[at].to_f32())))
            })
            .collect();
        features::scale_to_unit(&mut known);
        let mut sums = vec![0f32; self.labels.len()];
        for (at, value) in known {
            let own = self.starts[at] as usize..self.starts[at + 1] as usize;
            for (label, weight) in &self.weights[own] {
                sums[usize::from(*label)] += value * self.scale * f32::from(*weight);
            }
        }
        sums.iter().zip(&self.bias).map(|(sum, bias)| sigmoid(sum + bias)).collect()
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn logit(p: f32) -> f32 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Vec<(&'static str, String, Vec<String>)> {
        let of = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let mut set = Vec::new();
        for i in 0..40 {
            set.push(("bank", format!("what is the monthly payment on loan {i}"), of(&["loan"])));
            set.push(("bank", format!("is account number {i} well formed"), of(&["check"])));
            set.push(("bank", format!("每月要還多少 {i}"), of(&["loan"])));
            let both = format!("the monthly payment on loan {i}, and is account {i} well formed");
            set.push(("bank", both, of(&["loan", "check"])));
            set.push(("shop", format!("where is parcel {i}"), of(&["track"])));
            set.push(("shop", format!("give me my money back for {i}"), of(&["refund"])));
        }
        set
    }

    fn fitted() -> Intents {
        let set = set();
        let all = set.iter().map(|(domain, text, labels)| Labelled { domain, text, labels });
        Intents::fit(all, 1)
    }

    fn likely(intents: &Intents, domain: &str, text: &str) -> Vec<String> {
        let scores = intents.score(domain, text).unwrap();
        scores.into_iter().filter(|(_, p)| *p > 0.5).map(|(l, _)| l.to_owned()).collect()
    }

    #[test]
    fn a_request_has_the_labels_of_those_it_is_like_and_may_have_two() {
        let intents = fitted();
        assert_eq!(likely(&intents, "bank", "the monthly payment on this loan?"), ["loan"]);
        assert_eq!(likely(&intents, "bank", "是每月還多少"), ["loan"]);
        let both = "is account 7 well formed, and the monthly payment on loan 9";
        assert_eq!(likely(&intents, "bank", both), ["check", "loan"]);
        assert_eq!(likely(&intents, "shop", "where is my parcel"), ["track"]);
        assert_eq!(intents.score("farm", "where is my parcel"), None);
    }

    #[test]
    fn the_same_examples_give_the_same_bytes_and_bytes_give_the_same_scores() {
        let (first, second) = (fitted(), fitted());
        let bytes = first.to_bytes().unwrap();
        assert_eq!(bytes, second.to_bytes().unwrap());
        let read = Intents::from_bytes(&bytes).unwrap();
        assert_eq!(read, first);
        assert!(Intents::from_bytes(&bytes[..bytes.len() / 2]).is_err());
        assert!(Intents::from_bytes(b"no").is_err());
    }

    #[test]
    fn a_new_domain_takes_the_place_of_its_like_and_leaves_the_others() {
        let set = set();
        let shop = set.iter().filter(|(domain, ..)| *domain == "shop");
        let newer = shop.map(|(domain, text, labels)| Labelled { domain, text, labels });
        let newer = Intents::fit(newer, 2);
        let alone = newer.clone();
        let all = newer.or(fitted());
        assert!(all.score("bank", "loan").is_some());
        assert_eq!(all.score("shop", "parcel"), alone.score("shop", "parcel"));
    }

    #[test]
    fn the_places_of_references_and_the_choices_of_a_call_are_told_by_their_words() {
        let fills = |of: &[(usize, &str)]| -> BTreeMap<usize, Vec<String>> {
            of.iter().map(|(id, place)| (*id, vec![(*place).to_owned()])).collect()
        };
        let mut set = Vec::new();
        for i in 0..40 {
            let days = "[$9 dur day]";
            let a = format!("lend [$1 money] at [$2 pct] for {i}, answer within {days}");
            set.push(("loan", a, fills(&[(1, "/amount"), (2, "/rate")]), vec![]));
            let b = format!("at [$1 pct] we lend [$2 money], only a preview {i}");
            let dry = vec!["/dry=true".to_owned()];
            set.push(("loan", b, fills(&[(1, "/rate"), (2, "/amount")]), dry));
            let c = format!("within {days} fees [$1 money] and then [$2 money] {i}");
            set.push(("fees", c, fills(&[(1, "/fees/*"), (2, "/fees/*")]), vec![]));
        }
        let pointed = set.iter().map(|(call, text, places, choices)| Pointed {
            domain: "bank",
            call,
            text,
            places,
            choices,
        });
        let fitted = Intents::fit_places(pointed, 1);
        let best = |call: &str, text: &str| -> Vec<(usize, String)> {
            let places = fitted.places("bank", call, text).unwrap().into_iter();
            let best = places.map(|(id, places)| {
                let most = places.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
                (id, most.0.to_owned())
            });
            best.collect()
        };
        let text = "please lend [$4 money] at [$7 pct], answer within [$8 dur day]";
        let named = [(4, "/amount".to_owned()), (7, "/rate".to_owned()), (8, NOTHING.to_owned())];
        assert_eq!(best("loan", text), named);
        assert_eq!(best("fees", "fees [$1 money]"), [(1, "/fees/*".to_owned())]);
        assert_eq!(fitted.places("bank", "none", text), None);
        let dry = |text: &str| fitted.choices("bank", "loan", text).unwrap();
        assert!(dry("lend [$1 money], just a preview")[0].1 > 0.5);
        assert!(dry("lend [$1 money] at [$2 pct] for 9, answer within [$3 dur day]")[0].1 < 0.5);
        let again = Intents::from_bytes(&fitted.to_bytes().unwrap()).unwrap();
        assert_eq!(again, fitted);
    }
}
