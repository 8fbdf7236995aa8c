//! Weights of eight bits: how a planner travels, at half the size of half precision.
//!
//! A matrix `NAME` of a packed file is stored as integers (`I8`, its own shape) with `NAME.scale` (`F16`,
//! one for each 32 numbers of a row); a number is integer times scale, rounded to half precision. That is
//! the block of `Q8_0` in GGUF. Tensors of other shapes stay as they are. A packed file is unpacked
//! when it is read, so nothing else knows of it, and its planner has one digest in both forms.
//!
//! # Source
//! The layout of `Q8_0`: `ggml` of llama.cpp, `block_q8_0`, 32 integers and one scale.

use std::borrow::Cow;

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::kernel::{BLOCK, round_block};

/// What the name of the scales ends with.
const SCALE: &str = ".scale";

/// A tensor in the making: name, numbers, shape, bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Packs the matrices of a safetensors file that stand in half precision.
///
/// # Errors
/// [`SafeTensorError`] ⇐ it is no such file.
pub fn pack(bytes: &[u8]) -> Result<Vec<u8>, SafeTensorError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut tensors: Vec<Tensor> = Vec::new();
    for (name, tensor) in file.tensors() {
        let (shape, data) = (tensor.shape().to_vec(), tensor.data());
        match shape[..] {
            [rows, width] if tensor.dtype() == Dtype::F16 && width % BLOCK == 0 => {
                let (mut whole, mut scales) = (Vec::new(), Vec::new());
                for block in halves(data).collect::<Vec<_>>().chunks(BLOCK) {
                    let (scale, quants) = round_block(block);
                    scales.extend(scale.to_le_bytes());
                    whole.extend(quants.iter().map(|q| q.cast_unsigned()));
                }
                tensors.push((
                    format!("{name}{SCALE}"),
                    Dtype::F16,
                    vec![rows, width / BLOCK],
                    scales,
                ));
                tensors.push((name, Dtype::I8, shape, whole));
            }
            _ => tensors.push((name, tensor.dtype(), shape, data.to_vec())),
        }
    }
    write(&tensors)
}

/// Unpacks a file; one that is not packed, or that cannot be read, is given back as it is.
pub(super) fn unpack(bytes: Cow<'static, [u8]>) -> Cow<'static, [u8]> {
    match unpacked(&bytes) {
        Ok(Some(plain)) => Cow::Owned(plain),
        _ => bytes,
    }
}

fn unpacked(bytes: &[u8]) -> Result<Option<Vec<u8>>, SafeTensorError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut any = false;
    for (name, tensor) in file.tensors() {
        let is_scale = |name: &str| {
            let of = name.strip_suffix(SCALE).and_then(|of| file.tensor(of).ok());
            of.is_some_and(|of| of.dtype() == Dtype::I8)
        };
        if is_scale(&name) {
            continue;
        }
        let (shape, data) = (tensor.shape().to_vec(), tensor.data());
        if tensor.dtype() != Dtype::I8 {
            tensors.push((name, tensor.dtype(), shape, data.to_vec()));
            continue;
        }
        let scales = file.tensor(&format!("{name}{SCALE}"))?;
        if scales.dtype() != Dtype::F16 || scales.data().len() / 2 * BLOCK != data.len() {
            return Err(SafeTensorError::TensorInvalidInfo);
        }
        any = true;
        let plain = data.chunks(BLOCK).zip(halves(scales.data())).flat_map(|(block, scale)| {
            block.iter().flat_map(move |whole| {
                f16::from_f32(f32::from(i8::from_le_bytes([*whole])) * scale).to_le_bytes()
            })
        });
        let plain = plain.collect();
        tensors.push((name, Dtype::F16, shape, plain));
    }
    any.then(|| write(&tensors)).transpose()
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())
}

fn write(tensors: &[Tensor]) -> Result<Vec<u8>, SafeTensorError> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    safetensors::serialize(views, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let values: Vec<f32> = (0..192).map(|i| (i as f32 - 90.0) * 0.013).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        write(&[
            ("matrix".into(), Dtype::F16, vec![3, 64], bytes[..384].to_vec()),
            ("norm".into(), Dtype::F16, vec![64], bytes[..128].to_vec()),
            ("odd".into(), Dtype::F16, vec![2, 3], bytes[..12].to_vec()),
        ])
        .unwrap()
    }

    #[test]
    fn a_packed_file_is_half_the_size_and_unpacks_to_nearly_the_same_numbers() {
        let plain = file();
        let packed = pack(&plain).unwrap();
        let back = unpack(Cow::Owned(packed.clone()));
        let (old, new) =
            (SafeTensors::deserialize(&plain).unwrap(), SafeTensors::deserialize(&back).unwrap());
        for (name, tensor) in old.tensors() {
            let again = new.tensor(&name).unwrap();
            assert_eq!((again.dtype(), again.shape()), (Dtype::F16, tensor.shape()));
            let off = halves(tensor.data()).zip(halves(again.data()));
            let off = off.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Half a step of the largest block, 1.2 / 127, and half precision's own step.
            assert!(off <= 0.0055, "{name}: {off}");
            assert!(name == "matrix" || off == 0.0, "only matrices are packed");
        }
        assert_eq!(new.names().len(), 3);
        let stored = SafeTensors::deserialize(&packed).unwrap();
        assert_eq!(stored.tensor("matrix").unwrap().dtype(), Dtype::I8);
    }

    #[test]
    fn what_is_not_packed_or_broken_is_given_back_as_it_is() {
        let plain = file();
        assert_eq!(*unpack(Cow::Owned(plain.clone())), plain[..]);
        assert_eq!(*unpack(Cow::Borrowed(b"no file")), b"no file"[..]);
        let without = write(&[("m".into(), Dtype::I8, vec![1, 32], vec![1; 32])]).unwrap();
        assert_eq!(*unpack(Cow::Owned(without.clone())), without[..]);
    }

    #[test]
    fn unpacking_gives_the_same_bytes_each_time() {
        let packed = pack(&file()).unwrap();
        let once = unpack(Cow::Owned(packed.clone()));
        assert_eq!(once, unpack(Cow::Owned(packed)));
        assert_eq!(unpack(once.clone()), once);
    }
}
