//! Reading a checkpoint: safetensors in f32, f16 or bf16, held in memory as f32.

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::ModelError;
use crate::kernel::Matrix;

/// The tensors of one or more safetensors files.
pub(crate) struct Checkpoint<'a> {
    files: Vec<SafeTensors<'a>>,
}

impl<'a> Checkpoint<'a> {
    /// Reads the headers.
    pub(crate) fn open(files: &[&'a [u8]]) -> Result<Self, ModelError> {
        let files = files
            .iter()
            .map(|bytes| SafeTensors::deserialize(bytes).map_err(ModelError::Safetensors))
            .collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// Returns a tensor as f32, row-major.
    ///
    /// # Errors
    /// [`ModelError::Missing`] ⇐ no such tensor; [`ModelError::Shape`] ⇐ another shape;
    /// [`ModelError::Format`] ⇐ numbers other than f32, f16 and bf16.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let mut out = Vec::with_capacity(shape.iter().product());
        self.append(name, shape, &mut out)?;
        Ok(out)
    }

    /// Returns tensors of one width stacked into one matrix.
    ///
    /// # Errors
    /// As [`Checkpoint::get`].
    pub(crate) fn matrix(
        &self,
        parts: &[(String, usize)],
        width: usize,
    ) -> Result<Matrix, ModelError> {
        let mut matrix = Matrix::default();
        let mut exact = true;
        for (name, rows) in parts {
            self.append(name, &[*rows, width], &mut matrix.full)?;
            let tensor = self.find(name)?;
            exact &= tensor.dtype() == Dtype::F16;
            let bits = tensor.data().as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
            if exact {
                matrix.half.extend(bits);
            }
        }
        if !exact || matrix.full.iter().any(|v| !v.is_finite()) {
            matrix.half = Vec::new();
        }
        Ok(matrix)
    }

    fn find(&self, name: &str) -> Result<TensorView<'_>, ModelError> {
        self.files
            .iter()
            .find_map(|file| file.tensor(name).ok())
            .ok_or_else(|| ModelError::Missing(name.to_owned()))
    }

    /// Appends a tensor to `out`, so that several stand stacked.
    fn append(&self, name: &str, shape: &[usize], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let tensor = self.find(name)?;
        if tensor.shape() != shape {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        let bytes = tensor.data();
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
