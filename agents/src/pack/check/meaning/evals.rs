//! Cases and questions.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::names::listed;
use super::super::{Bag, Opened, said};
use crate::eval::Case;
use crate::judge::case_form;
use crate::pack::Pack;
use crate::synth::LANGS;
use crate::tool::ToolSpec;

pub(super) fn check(opened: &Opened<'_>, bag: &mut Bag) {
    cases(opened, bag);
    let documents = super::documents(opened);
    let mut seen = BTreeSet::new();
    for file in &opened.questions {
        if let Some(id) = file.value["id"].as_str().filter(|id| !seen.insert(*id)) {
            let fault = said("twice", format!("another question has the name `{id}`"));
            bag.error(file, file.place("/id"), fault);
        }
        if let Some(lang) = file.value["lang"].as_str().filter(|lang| !LANGS.contains(lang)) {
            let fault = said("language", format!("`{lang}` is not one of {}", listed(&LANGS)));
            bag.error(file, file.place("/lang"), fault);
        }
        let named = file.value["documents"].as_array().into_iter().flatten().enumerate();
        for (at, id) in named.filter_map(|(at, id)| Some((at, id.as_str()?))) {
            super::document(file, &format!("/documents/{at}"), id, &documents, bag);
        }
    }
}

fn cases(opened: &Opened<'_>, bag: &mut Bag) {
    let Some((_, manifest)) = &opened.manifest else { return };
    let copied = |spec: &ToolSpec| {
        serde_json::to_value(spec).and_then(serde_json::from_value::<ToolSpec>).ok().map(Arc::new)
    };
    let pack = Pack {
        manifest: manifest.clone(),
        tools: opened.tools.values().filter_map(|(_, spec)| copied(spec)).collect(),
        files: opened.files.clone(),
    };
    let mut seen = BTreeSet::new();
    for file in &opened.cases {
        let Ok(case) = serde_json::from_value::<Case>(file.value.clone()) else { continue };
        if !seen.insert(case.id.clone()) {
            let fault = said("twice", format!("another case has the name `{}`", case.id));
            bag.error(file, file.place("/id"), fault);
        }
        let mut fits = true;
        for (at, call) in case.expected_calls.iter().enumerate() {
            if !opened.tool_names.contains(&call.name) {
                super::tool(opened, file, &format!("/expected_calls/{at}/name"), &call.name, bag);
            }
            // A tool that does not read is told of in its own file.
            fits &= opened.tools.contains_key(&call.name);
        }
        if let Err(message) = case_form(&pack, &case)
            && fits
        {
            let at = message.strip_prefix("call ").and_then(|rest| rest.split(':').next());
            let place = match at {
                Some(at) => file.place(&format!("/expected_calls/{at}")),
                None => file.place("/id"),
            };
            bag.error(file, place, said("case", message));
        }
    }
}
