//! Fitting one classifier.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use half::f16;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::{Domain, features, sigmoid};

/// Rounds over the examples.
const ROUNDS: usize = 6;

/// Share of the weights that decays with a step of size 1.
const DECAY: f32 = 1e-6;

/// Fewest examples that an n-gram is in.
const FEWEST: u32 = 3;

/// How much more an example of several labels counts; they are few and hard.
const SEVERAL: f32 = 2.0;

/// Part of the step size that the bias takes, since it is in every example.
const BIAS: f32 = 0.01;

/// What a classifier is fitted on.
pub(super) struct Sample<'a> {
    /// Hashes of its features with their counts, ascending.
    pub(super) counts: Vec<(u32, u32)>,
    /// Its labels.
    pub(super) labels: Cow<'a, [String]>,
}

/// How large a classifier may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Most features kept.
    pub(super) features: usize,
    /// Most weights kept.
    pub(super) weights: usize,
}

/// An example as positions and values of its features, and whether it has each label.
struct Row {
    at: Vec<(u32, f32)>,
    labels: Vec<bool>,
    counts: f32,
}

/// Dense weights in training, `[feature, label]`.
struct Dense {
    labels: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// Fits a classifier; `None` ⇐ it has fewer than two labels, or more than eight bits can number.
pub(super) fn domain(samples: &[Sample<'_>], size: Size, seed: u64) -> Option<Domain> {
    let labels: BTreeSet<&String> = samples.iter().flat_map(|e| e.labels.iter()).collect();
    let labels: Vec<String> = labels.into_iter().cloned().collect();
    if !(2..=usize::from(u8::MAX)).contains(&labels.len()) {
        return None;
    }
    let mut within: HashMap<u32, u32> = HashMap::new();
    for (hash, _) in samples.iter().flat_map(|sample| &sample.counts) {
        *within.entry(*hash).or_default() += 1;
    }
    let mut known: Vec<u32> =
        within.iter().filter(|(_, n)| **n >= FEWEST).map(|(hash, _)| *hash).collect();
    known.sort_unstable();
    let all = samples.len() as f32;
    let idf: Vec<f16> = known
        .iter()
        .map(|hash| f16::from_f32(((1.0 + all) / (1.0 + within[hash] as f32)).ln() + 1.0))
        .collect();
    let place: HashMap<u32, usize> = known.iter().enumerate().map(|(i, h)| (*h, i)).collect();
    let rows: Vec<Row> =
        samples.iter().map(|sample| row(sample, &labels, (&place, &idf))).collect();
    // Which features matter shows in a first fit; the second one makes do with them.
    let first = descend(&rows, known.len(), labels.len(), seed);
    let kept = telling(&first, &rows, size.features);
    let mut new_place = vec![u32::MAX; known.len()];
    kept.iter().enumerate().for_each(|(new, old)| new_place[*old as usize] = new as u32);
    let rows: Vec<Row> = rows.into_iter().map(|row| row.only(&new_place)).collect();
    let dense = descend(&rows, kept.len(), labels.len(), seed);
    let features = kept.iter().map(|old| known[*old as usize]).collect();
    let idf = kept.iter().map(|old| idf[*old as usize]).collect();
    Some(dense.pruned(labels, features, idf, size.weights))
}

fn row(
    sample: &Sample<'_>,
    labels: &[String],
    (place, idf): (&HashMap<u32, usize>, &[f16]),
) -> Row {
    let at: Vec<(u32, f32)> = sample
        .counts
        .iter()
        .filter_map(|(hash, count)| {
            let at = *place.get(hash)?;
            Some((at as u32, features::weight(*count, idf[at].to_f32())))
        })
        .collect();
    let labels: Vec<bool> = labels.iter().map(|label| sample.labels.contains(label)).collect();
    let counts = if sample.labels.len() > 1 { SEVERAL } else { 1.0 };
    Row { at, labels, counts }.scaled()
}

impl Row {
    fn scaled(mut self) -> Self {
        features::scale_to_unit(&mut self.at);
        self
    }

    /// Keeps the features that have a new place.
    fn only(self, new_place: &[u32]) -> Self {
        let kept = self.at.into_iter().filter_map(|(at, value)| {
            let new = new_place[at as usize];
            (new != u32::MAX).then_some((new, value))
        });
        Self { at: kept.collect(), ..self }.scaled()
    }
}

/// Stochastic gradient descent on the logistic loss of every label; the step size falls with the
/// inverse of the time, and decay is a factor that all weights share.
fn descend(rows: &[Row], features: usize, labels: usize, seed: u64) -> Dense {
    let mut dense =
        Dense { labels, weights: vec![0.0; features * labels], bias: vec![0.0; labels] };
    let typical = (1.0 / DECAY.sqrt()).sqrt();
    let mut time = 1.0 / (typical * DECAY);
    let mut scale = 1f32;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut sums = vec![0f32; labels];
    for _ in 0..ROUNDS {
        order.shuffle(&mut chance);
        for &index in &order {
            let row = &rows[index];
            let rate = 1.0 / (DECAY * time);
            time += 1.0;
            sums.fill(0.0);
            for (at, value) in &row.at {
                let own = &dense.weights[*at as usize * labels..][..labels];
                sums.iter_mut().zip(own).for_each(|(sum, w)| *sum += value * w);
            }
            for ((sum, bias), has) in sums.iter_mut().zip(&mut dense.bias).zip(&row.labels) {
                let off = f32::from(*has) - sigmoid(*sum * scale + *bias);
                let step = rate * row.counts * off;
                *bias += BIAS * step;
                *sum = step;
            }
            scale *= 1.0 - rate * DECAY;
            let grow = 1.0 / scale;
            for (at, value) in &row.at {
                let own = &mut dense.weights[*at as usize * labels..][..labels];
                own.iter_mut().zip(&sums).for_each(|(w, step)| *w += value * grow * step);
            }
        }
    }
    dense.weights.iter_mut().for_each(|w| *w *= scale);
    dense
}

/// Returns the features, ascending, whose largest weight moves most over the examples, at most `most`.
fn telling(dense: &Dense, rows: &[Row], most: usize) -> Vec<u32> {
    let mut energy = vec![0f32; dense.weights.len() / dense.labels];
    for (at, value) in rows.iter().flat_map(|row| &row.at) {
        energy[*at as usize] += value * value;
    }
    let mut all: Vec<(f32, u32)> = dense
        .weights
        .chunks(dense.labels)
        .zip(&energy)
        .zip(0..)
        .map(|((own, energy), at)| {
            (own.iter().fold(0f32, |largest, w| largest.max(w.abs())) * energy.sqrt(), at)
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut kept: Vec<u32> = all.into_iter().take(most).map(|(_, at)| at).collect();
    kept.sort_unstable();
    kept
}

impl Dense {
    /// Keeps the largest weights, eight bits each.
    fn pruned(self, labels: Vec<String>, features: Vec<u32>, idf: Vec<f16>, most: usize) -> Domain {
        let mut sizes: Vec<f32> = self.weights.iter().map(|w| w.abs()).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        let scale = sizes.first().map_or(1.0, |largest| (largest / 127.0).max(f32::MIN_POSITIVE));
        let least = sizes.get(most).copied().unwrap_or(0.0).max(scale * 0.5);
        let mut starts = vec![0u32];
        let mut weights = Vec::new();
        for own in self.weights.chunks(self.labels) {
            for (label, weight) in (0u8..).zip(own) {
                if weight.abs() > least {
                    #[expect(clippy::cast_possible_truncation, reason = "within -127 to 127")]
                    weights.push((label, (weight / scale).round() as i8));
                }
            }
            starts.push(weights.len() as u32);
        }
        Domain { labels, bias: self.bias, features, idf, starts, weights, scale }
    }
}
