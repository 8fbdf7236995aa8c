//! Reading a checkpoint: safetensors in f32, f16 or bf16, held in memory as f32.
//!
//! Tensors are asked for by the names that [`names`](crate::config::names) gives; a [`Source`] knows where its
//! own format keeps them.

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::ModelError;
use crate::config::{Family, MoeConfig};
use crate::kernel::Matrix;

/// Where weights come from.
pub(crate) trait Source {
    /// Returns a tensor as f32, row-major.
    ///
    /// # Errors
    /// [`ModelError::Missing`] ⇐ no such tensor; [`ModelError::Shape`] ⇐ another shape;
    /// [`ModelError::Format`] ⇐ numbers in a format that is not read.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError>;

    /// Returns tensors of one width stacked into one matrix.
    ///
    /// # Errors
    /// As [`Source::get`].
    fn matrix(&self, parts: &[(String, usize)], width: usize) -> Result<Matrix, ModelError>;
}

/// Part `part` of the `of` equal parts that a tensor's first axes have together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) part: usize,
    pub(super) of: usize,
}

impl Place {
    pub(super) fn whole(name: String) -> Self {
        Self { name, part: 0, of: 1 }
    }

    /// Where a checkpoint of a family keeps what is asked for as `name`.
    fn in_checkpoint(family: Family, experts: usize, name: &str) -> Self {
        let renamed = |from: &str, to: &str| Self::whole(name.replace(from, to));
        match (family, expert_of(name)) {
            (Family::Mixtral | Family::GraniteMoe, None) if name.ends_with("mlp.gate.weight") => {
                let to = if family == Family::Mixtral { "gate" } else { "router.layer" };
                renamed("mlp.gate", &format!("block_sparse_moe.{to}"))
            }
            (Family::Mixtral, Some((layer, expert, which))) => {
                let which = match which {
                    "gate" => "w1",
                    "up" => "w3",
                    _ => "w2",
                };
                Self::whole(format!(
                    "model.layers.{layer}.block_sparse_moe.experts.{expert}.{which}.weight"
                ))
            }
            (Family::GraniteMoe, Some((layer, expert, which))) => {
                let (what, part, of) = match which {
                    "gate" => ("input", 2 * expert, 2 * experts),
                    "up" => ("input", 2 * expert + 1, 2 * experts),
                    _ => ("output", expert, experts),
                };
                let name = format!("model.layers.{layer}.block_sparse_moe.{what}_linear.weight");
                Self { name, part, of }
            }
            _ => Self::whole(name.to_owned()),
        }
    }
}

/// Layer, expert and matrix (`gate`, `up` or `down`) of the name of an expert's tensor.
pub(super) fn expert_of(name: &str) -> Option<(&str, usize, &str)> {
    let rest = name.strip_prefix("model.layers.")?;
    let (layer, rest) = rest.split_once(".mlp.experts.")?;
    let (expert, rest) = rest.split_once('.')?;
    Some((layer, expert.parse().ok()?, rest.strip_suffix("_proj.weight")?))
}

/// The tensors of one or more safetensors files.
pub(crate) struct Checkpoint<'a> {
    files: Vec<SafeTensors<'a>>,
    family: Family,
    experts: usize,
}

impl<'a> Checkpoint<'a> {
    /// Reads the headers.
    pub(crate) fn open(files: &[&'a [u8]]) -> Result<Self, ModelError> {
        let files = files
            .iter()
            .map(|bytes| SafeTensors::deserialize(bytes).map_err(ModelError::Safetensors))
            .collect::<Result<_, _>>()?;
        Ok(Self { files, family: Family::Qwen3Moe, experts: 1 })
    }

    /// Reads the names of another family.
    pub(crate) fn of(self, config: &MoeConfig) -> Self {
        Self { family: config.family(), experts: config.num_experts, ..self }
    }
}

impl Source for Checkpoint<'_> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let mut out = Vec::with_capacity(shape.iter().product());
        self.append(name, shape, &mut out)?;
        Ok(out)
    }

    fn matrix(&self, parts: &[(String, usize)], width: usize) -> Result<Matrix, ModelError> {
        let mut matrix = Matrix::default();
        let mut exact = true;
        for (name, rows) in parts {
            self.append(name, &[*rows, width], &mut matrix.full)?;
            let (tensor, bytes) = self.find(name)?;
            exact &= tensor.dtype() == Dtype::F16;
            let bits = bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
            if exact {
                matrix.half.extend(bits);
            }
        }
        if !exact || matrix.full.iter().any(|v| !v.is_finite()) {
            matrix.half = Vec::new();
        }
        Ok(matrix)
    }
}

impl Checkpoint<'_> {
    /// Returns a tensor and the bytes of the part of it that is meant.
    fn find(&self, name: &str) -> Result<(TensorView<'_>, &[u8]), ModelError> {
        let place = Place::in_checkpoint(self.family, self.experts, name);
        let found = self.files.iter().find_map(|file| file.tensor(&place.name).ok());
        let tensor = found.ok_or(ModelError::Missing(place.name))?;
        let bytes = tensor.data();
        let each = bytes.len() / place.of;
        Ok((tensor, &bytes[place.part * each..][..each]))
    }

    /// Appends a tensor to `out`, so that several stand stacked.
    fn append(&self, name: &str, shape: &[usize], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let (tensor, bytes) = self.find(name)?;
        let width = tensor.dtype().bitsize() / 8;
        let whole = bytes.len() == tensor.data().len();
        // Of a part, only the width and the number of rows are the caller's.
        let fits = if whole {
            tensor.shape() == shape
        } else {
            bytes.len() == shape.iter().product::<usize>() * width
                && tensor.shape().last() == shape.last()
        };
        if !fits {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        match tensor.dtype() {
            Dtype::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Dtype::F16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()));
            }
            Dtype::BF16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()));
            }
            other => {
                return Err(ModelError::Format {
                    name: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        }
        Ok(())
    }
}
