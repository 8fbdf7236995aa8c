//! Classifiers as a safetensors file: for each domain `NAME.features` (u32, n), `NAME.idf` (f16, n),
//! `NAME.counts` (u8, n: weights of each feature), `NAME.labels` (u8) and `NAME.weights` (i8), one a
//! weight, `NAME.bias` (f32, one a label) and `NAME.scale` (f32, 1). The names of the labels stand in
//! the file's metadata as JSON.

use std::collections::{BTreeMap, HashMap};

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Domain, Intents};

/// Why a classifier cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("intents.safetensors does not hold: {0}")]
pub struct IntentError(String);

fn fail(why: impl std::fmt::Display) -> IntentError {
    IntentError(why.to_string())
}

impl Intents {
    /// Returns the bytes of the file.
    ///
    /// # Errors
    /// [`IntentError`] ⇐ the library refuses a tensor.
    pub fn to_bytes(&self) -> Result<Vec<u8>, IntentError> {
        let mut tensors: Vec<(String, Dtype, usize, Vec<u8>)> = Vec::new();
        for (name, domain) in &self.domains {
            let mut add = |part: &str, dtype: Dtype, len: usize, bytes: Vec<u8>| {
                tensors.push((format!("{name}.{part}"), dtype, len, bytes));
            };
            let n = domain.features.len();
            let of_each = domain.starts.windows(2).map(|w| (w[1] - w[0]) as u8);
            add("counts", Dtype::U8, n, of_each.collect());
            let hashes = domain.features.iter().flat_map(|hash| hash.to_le_bytes());
            add("features", Dtype::U32, n, hashes.collect());
            add("idf", Dtype::F16, n, domain.idf.iter().flat_map(|v| v.to_le_bytes()).collect());
            let w = domain.weights.len();
            add("labels", Dtype::U8, w, domain.weights.iter().map(|(label, _)| *label).collect());
            let weights = domain.weights.iter().map(|(_, weight)| weight.to_le_bytes()[0]);
            add("weights", Dtype::I8, w, weights.collect());
            let bias = domain.bias.iter().flat_map(|v| v.to_le_bytes());
            add("bias", Dtype::F32, domain.bias.len(), bias.collect());
            add("scale", Dtype::F32, 1, domain.scale.to_le_bytes().to_vec());
        }
        let views = tensors
            .iter()
            .map(|(name, dtype, len, bytes)| {
                Ok((name, TensorView::new(*dtype, vec![*len], bytes).map_err(fail)?))
            })
            .collect::<Result<Vec<_>, IntentError>>()?;
        let labels: BTreeMap<&String, &Vec<String>> =
            self.domains.iter().map(|(name, domain)| (name, &domain.labels)).collect();
        let labels = serde_json::to_string(&labels).map_err(fail)?;
        let about = HashMap::from([("labels".to_owned(), labels)]);
        safetensors::serialize(views, Some(about)).map_err(fail)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`IntentError`] ⇐ it is damaged or not such a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IntentError> {
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(fail)?;
        let labels = head.metadata().as_ref().and_then(|about| about.get("labels"));
        let labels = labels.ok_or_else(|| fail("it names no labels"))?;
        let labels: BTreeMap<String, Vec<String>> = serde_json::from_str(labels).map_err(fail)?;
        let file = SafeTensors::deserialize(bytes).map_err(fail)?;
        let domains = labels
            .into_iter()
            .map(|(name, labels)| Ok((name.clone(), read(&file, &name, labels)?)))
            .collect::<Result<_, IntentError>>()?;
        Ok(Self { domains })
    }
}

fn read(file: &SafeTensors<'_>, name: &str, labels: Vec<String>) -> Result<Domain, IntentError> {
    let part = |part: &str, dtype: Dtype| -> Result<&[u8], IntentError> {
        let tensor = file.tensor(&format!("{name}.{part}")).map_err(fail)?;
        if tensor.dtype() == dtype {
            Ok(tensor.data())
        } else {
            Err(fail(format!("`{name}.{part}` has the wrong type")))
        }
    };
    let f32s = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let features: Vec<u32> = part("features", Dtype::U32)?
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let idf: Vec<f16> = part("idf", Dtype::F16)?
        .chunks_exact(2)
        .map(|b| f16::from_le_bytes([b[0], b[1]]))
        .collect();
    let mut starts = vec![0u32];
    for count in part("counts", Dtype::U8)? {
        starts.push(starts.last().copied().unwrap_or_default() + u32::from(*count));
    }
    let (of, values) = (part("labels", Dtype::U8)?, part("weights", Dtype::I8)?);
    let weights: Vec<(u8, i8)> =
        of.iter().zip(values).map(|(label, value)| (*label, i8::from_le_bytes([*value]))).collect();
    let (bias, scale) = (f32s(part("bias", Dtype::F32)?), f32s(part("scale", Dtype::F32)?));
    let fits = idf.len() == features.len()
        && starts.len() == features.len() + 1
        && starts.last().copied() == Some(weights.len() as u32)
        && of.len() == values.len()
        && bias.len() == labels.len()
        && weights.iter().all(|(label, _)| usize::from(*label) < labels.len())
        && features.is_sorted();
    let [scale] = scale[..] else { return Err(fail("it has no scale")) };
    if !fits {
        return Err(fail(format!("the parts of `{name}` do not fit each other")));
    }
    Ok(Domain { labels, bias, features, idf, starts, weights, scale })
}
