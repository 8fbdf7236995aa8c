//! A bounded reader of XML into a small tree of local names and texts.
//!
//! Document types are refused, so no entity of a file is ever expanded: only the five of the
//! standard and character references are known. A hostile file costs no more than its own length.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::fault;
use crate::tool::ToolError;

/// Deepest nesting; published messages stay below twenty.
const MAX_DEPTH: usize = 48;
/// Most elements; a statement of the largest size that is read has fewer.
const MAX_ELEMENTS: usize = 1_000_000;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: Box<str>,
    /// Namespace, where the element declares one.
    pub(super) namespace: Option<Box<str>>,
    /// Attribute `Ccy`.
    pub(super) currency: Option<Box<str>>,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Returns the children of a name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Element> + 'e {
        self.children.iter().filter(move |child| &*child.name == name)
    }

    /// Returns the first element at a path such as `Acct/Id/IBAN`.
    pub(super) fn at(&self, path: &str) -> Option<&Element> {
        path.split('/').try_fold(self, |element, name| {
            element.children.iter().find(|child| &*child.name == name)
        })
    }

    /// Returns the text at the first of several paths that has one.
    pub(super) fn text(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| super::some(&self.at(path)?.text))
    }
}

/// Reads a document; returns an unnamed element that holds the root.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ not well formed, a document type, an unknown entity, too deep or
/// too many elements.
pub(super) fn read(text: &str) -> Result<Element, ToolError> {
    let mut reader = Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let mut stack = vec![Element::default()];
    let mut elements = 0;
    loop {
        match reader.read_event().map_err(fault)? {
            Event::Start(tag) => {
                elements += 1;
                if stack.len() > MAX_DEPTH || elements > MAX_ELEMENTS {
                    return Err(fault("it is nested too deeply or has too many elements"));
                }
                stack.push(open(&tag)?);
            }
            Event::Empty(tag) => {
                elements += 1;
                if elements > MAX_ELEMENTS {
                    return Err(fault("it has too many elements"));
                }
                let element = open(&tag)?;
                if let Some(parent) = stack.last_mut() {
                    parent.children.push(element);
                }
            }
            Event::End(_) => {
                let element = stack.pop().unwrap_or_default();
                let Some(parent) = stack.last_mut() else {
                    return Err(fault("a closing tag is alone"));
                };
                parent.children.push(element);
            }
            Event::Text(part) => push(&mut stack, &part),
            Event::CData(part) => push(&mut stack, &part),
            Event::GeneralRef(name) => {
                let known = match &*name {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => name.resolve_char_ref().map_err(fault)?,
                };
                let known = known.ok_or_else(|| fault("entities of a file are not accepted"))?;
                push(&mut stack, known.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(fault("document types are not accepted")),
            Event::Eof => break,
            _ => {}
        }
    }
    match (stack.pop(), stack.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(fault("an element is not closed")),
    }
}

fn push(stack: &mut [Element], text: &str) {
    if let Some(element) = stack.last_mut() {
        element.text.push_str(text);
    }
}

fn open(tag: &BytesStart<'_>) -> Result<Element, ToolError> {
    let local: &str = tag.local_name().into_inner();
    let mut element = Element { name: local.into(), ..Element::default() };
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(fault)?;
        let key = attribute.key.as_ref();
        let value = || -> Box<str> { attribute.value.as_ref().into() };
        if key == "Ccy" {
            element.currency = Some(value());
        } else if key == "xmlns" || (key.starts_with("xmlns:") && element.namespace.is_none()) {
            element.namespace = Some(value());
        }
    }
    Ok(element)
}
