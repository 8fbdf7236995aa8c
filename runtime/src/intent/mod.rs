//! What a request asks for, told by its words alone: a linear classifier over character n-grams.
//!
//! A planner has two questions to answer: which of a domain's tools a request is for, and what their
//! arguments are. The first one is a matter of words, and on it a linear model trained in seconds is
//! more often right than a small decoder trained for hours; the second one needs the decoder. So a
//! planner may have both: this model bounds which steps the decoder can begin with.
//!
//! A domain's labels are scored each for itself, so a request may have several (two tasks in one
//! breath).
//!
//! # Source
//! One-vs-rest logistic regression on tf-idf of character n-grams; the features as in Cavnar and
//! Trenkle 1994, *N-Gram-Based Text Categorization*, weights and cosine normalisation as in Manning,
//! Raghavan, Schütze, *Introduction to Information Retrieval*, chapter 6; step sizes after Bottou 2012,
//! *Stochastic Gradient Descent Tricks*.

mod features;
mod file;
mod fit;

use std::collections::BTreeMap;

use half::f16;

pub use file::IntentError;

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

/// Classifiers of one or more domains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intents {
    domains: BTreeMap<String, Domain>,
}

/// The classifier of one domain. Weights are kept where they matter, eight bits each.
#[derive(Debug, Clone, Default, PartialEq)]
struct Domain {
    labels: Vec<String>,
    /// One a label.
    bias: Vec<f32>,
    /// Hashes of the n-grams that are known, ascending.
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
        let fitted = by_domain
            .into_iter()
            .filter_map(|(name, examples)| Some((name.to_owned(), fit::domain(&examples, seed)?)));
        Self { domains: fitted.collect() }
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
        let domain = self.domains.get(domain)?;
        let scores = domain.score(text);
        Some(domain.labels.iter().map(String::as_str).zip(scores).collect())
    }
}

impl Domain {
    fn score(&self, text: &str) -> Vec<f32> {
        let mut known: Vec<(usize, f32)> = features::counts(text)
            .into_iter()
            .filter_map(|(hash, count)| {
                let at = self.features.binary_search(&hash).ok()?;
                Some((at, features::weight(count, self.idf[at].to_f32())))
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
}
