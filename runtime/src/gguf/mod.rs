//! Reading GGUF files: keys, tensor descriptions, and tensors one by one.
//!
//! A file is not mapped: weights are put into tiles as they are read, and pages of a mapping would count as
//! this process's memory beside them. Every length in a file is checked against its size before anything is
//! allocated, so a damaged file ends in an error.
//!
//! # Source
//! `docs/gguf.md` of ggml, version 3 (2 has the same layout).

mod vocabulary;

pub(crate) use vocabulary::tokenizer_json;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use crate::kernel::Packing;

/// Alignment of the tensors where the file states none.
const ALIGNMENT: u64 = 32;

/// Levels of arrays within arrays.
const MAX_DEPTH: usize = 3;

/// Why a GGUF file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system refuses.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Its reason.
        source: std::io::Error,
    },
    /// The bytes are no GGUF file of version 2 or 3, or contradict themselves.
    #[error("not a GGUF file that can be read: {0}")]
    Form(String),
    /// A key that the model needs is absent or of another type.
    #[error("the GGUF file has no usable key `{0}`")]
    Key(String),
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned width.
    Unsigned(u64),
    /// Any signed width.
    Signed(i64),
    /// Single or double precision.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text; what is not is replaced.
    Text(String),
    /// Values of one type.
    Array(Vec<Value>),
}

impl Value {
    /// A whole number that is not negative.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Float(n) => Some(*n),
            Self::Unsigned(n) => Some(*n as f64),
            Self::Signed(n) => Some(*n as f64),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An array.
    pub fn array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    F16,
    Bf16,
    Packed(Packing),
}

impl Numbers {
    /// By `ggml_type`.
    fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::F32,
            1 => Self::F16,
            8 => Self::Packed(Packing::Q8),
            12 => Self::Packed(Packing::Q4),
            14 => Self::Packed(Packing::Q6),
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Bytes of `n` numbers of a row.
    pub(crate) fn bytes(self, n: usize) -> Option<usize> {
        match self {
            Self::F32 => n.checked_mul(4),
            Self::F16 | Self::Bf16 => n.checked_mul(2),
            Self::Packed(packing) => packing.bytes(n),
        }
    }

    /// Widens numbers of a row.
    pub(crate) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.as_chunks::<2>().0.iter();
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Bf16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::Packed(packing) => crate::kernel::numbers(packing, bytes),
        }
    }
}

/// One tensor's description.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Row-major: the last size varies fastest.
    pub(crate) shape: Vec<usize>,
    /// `None`: a format that is not read, by its number.
    pub(crate) numbers: Result<Numbers, u32>,
    offset: u64,
}

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    keys: HashMap<String, Value>,
    tensors: HashMap<String, Entry>,
    data: u64,
    size: u64,
}

impl Gguf {
    /// Reads keys and tensor descriptions.
    ///
    /// # Errors
    /// [`GgufError::Io`]; [`GgufError::Form`] ⇐ another format, or a length beyond the file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io { path: path.display().to_string(), source };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut header = Header { inner: BufReader::new(&file), at: 0, size };
        if &header.bytes::<4>()? != b"GGUF" {
            return Err(GgufError::Form("it does not begin with `GGUF`".to_owned()));
        }
        let version = header.u32()?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Form(format!("version {version}; 2 and 3 are read")));
        }
        let (tensor_count, key_count) = (header.count(24)?, header.count(13)?);
        let mut keys = HashMap::new();
        for _ in 0..key_count {
            let key = header.text()?;
            let kind = header.u32()?;
            keys.insert(key, header.value(kind, 0)?);
        }
        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let (name, entry) = header.entry()?;
            tensors.insert(name, entry);
        }
        let stated = keys.get("general.alignment").and_then(Value::size).unwrap_or(ALIGNMENT);
        let data = header.at.next_multiple_of(stated.clamp(1, 1 << 20));
        Ok(Self { path: path.to_owned(), file, keys, tensors, data, size })
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// A tensor's description.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// Reads the bytes of part `part` of the first axis of a tensor, of `of` equal parts.
    ///
    /// # Errors
    /// [`GgufError::Form`] ⇐ they lie beyond the file; [`GgufError::Io`].
    pub(crate) fn read(
        &self,
        entry: &Entry,
        (part, of): (usize, usize),
    ) -> Result<Vec<u8>, GgufError> {
        let form = || GgufError::Form("a tensor lies beyond the end of the file".to_owned());
        let columns = entry.shape.last().copied().unwrap_or(1);
        let rows: usize = entry.shape.iter().rev().skip(1).product::<usize>() / of.max(1);
        let numbers = entry.numbers.map_err(|kind| {
            GgufError::Form(format!("number format {kind}; use F32, F16, BF16, Q8_0, Q4_K or Q6_K"))
        })?;
        let bytes =
            numbers.bytes(columns).and_then(|row| row.checked_mul(rows)).ok_or_else(form)?;
        let start = self.data.checked_add(entry.offset).ok_or_else(form)?;
        let start = start.checked_add((bytes * part) as u64).ok_or_else(form)?;
        if start.checked_add(bytes as u64).is_none_or(|end| end > self.size) {
            return Err(form());
        }
        let mut out = vec![0; bytes];
        read_at(&self.file, &mut out, start)
            .map_err(|source| GgufError::Io { path: self.path.display().to_string(), source })?;
        Ok(out)
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(out)
}

/// The beginning of a file, with what is left known.
struct Header<R> {
    inner: R,
    at: u64,
    size: u64,
}

impl<R: Read> Header<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        self.inner.read_exact(&mut out).map_err(|_| short())?;
        self.at += N as u64;
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A number of things that take at least `least` bytes each.
    fn count(&mut self, least: u64) -> Result<u64, GgufError> {
        let count = self.u64()?;
        let left = self.size.saturating_sub(self.at);
        if count.checked_mul(least).is_none_or(|bytes| bytes > left) {
            Err(short())
        } else {
            Ok(count)
        }
    }

    fn text(&mut self) -> Result<String, GgufError> {
        let len = self.count(1)?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| short())?];
        self.inner.read_exact(&mut bytes).map_err(|_| short())?;
        self.at += len;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, GgufError> {
        Ok(match kind {
            0 => Value::Unsigned(self.bytes::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 if depth < MAX_DEPTH => {
                let kind = self.u32()?;
                let count = self.count(1)?;
                Value::Array(
                    (0..count).map(|_| self.value(kind, depth + 1)).collect::<Result<_, _>>()?,
                )
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(GgufError::Form(format!("a key has type {other}"))),
        })
    }

    fn entry(&mut self) -> Result<(String, Entry), GgufError> {
        let name = self.text()?;
        let axes = self.u32()?;
        if axes > 4 {
            return Err(GgufError::Form(format!("tensor `{name}` has {axes} axes")));
        }
        let mut shape = Vec::new();
        let mut all = 1_usize;
        for _ in 0..axes {
            let size = usize::try_from(self.u64()?).map_err(|_| short())?;
            all = all.checked_mul(size).ok_or_else(short)?;
            shape.insert(0, size);
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        Ok((name, Entry { shape, numbers: Numbers::of(kind).ok_or(kind), offset }))
    }
}

fn short() -> GgufError {
    GgufError::Form("it ends before what it announces".to_owned())
}
