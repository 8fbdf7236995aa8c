//! Requests with the calls that they must lead to, in the form of evaluation cases.
//!
//! Training examples say what a planner should write; a case says what must become of a request, so
//! it measures the whole way from words to arguments: mentions, shortlist, steps and fills.

use jiff::Timestamp;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use super::example::{Maker, held_out};
use super::vary::vary;
use super::{Chain, LANGS, Phrase};
use crate::eval::{Case, Expected, Kind};
use crate::mention;
use crate::plan::{Card, Field, OTHER_STEPS, Setting, Step};

/// Of eight requests, this one has several calls, where the pack has phrases for it.
const CHAIN: usize = 6;

/// Of eight requests, this one calls nothing.
const OTHER: usize = 4;

/// A phrase and what it leads to.
struct Source<'t> {
    lang: &'static str,
    text: &'t str,
    leads: Leads<'t>,
}

enum Leads<'t> {
    Call(&'t str),
    Chain(&'t Chain),
    Other(&'static str),
}

impl<'a> Maker<'a> {
    /// The instant that counts as now in what is made.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Makes `count` cases, or none where the pack has no phrase for them. With `only_held_out` they
    /// come from the phrases that training never sees.
    pub fn cases(&mut self, count: usize, only_held_out: bool) -> Vec<Case> {
        let mut pools: [Vec<Source<'a>>; 3] = Default::default();
        for source in self.sources().into_iter().filter(|s| !only_held_out || held_out(s.text)) {
            let pool = match source.leads {
                Leads::Call(_) => 0,
                Leads::Chain(_) => 1,
                Leads::Other(_) => 2,
            };
            pools[pool].push(source);
        }
        for pool in &mut pools {
            pool.shuffle(&mut self.chance);
        }
        let mut turns = [0; 3];
        let mut cases = Vec::with_capacity(count);
        // A phrase that cannot be rendered is passed over, but not for ever.
        for turn in 0..count * 4 {
            let kind = match turn % 8 {
                CHAIN if !pools[1].is_empty() => 1,
                OTHER if !pools[2].is_empty() => 2,
                _ => 0,
            };
            let pool = &pools[kind];
            let Some(source) = pool.get(turns[kind] % pool.len().max(1)) else { continue };
            turns[kind] += 1;
            let id = format!("{}-{}", self.pack.manifest.id, cases.len() + 1);
            cases.extend(self.case(source, id));
            if cases.len() == count {
                break;
            }
        }
        cases
    }

    fn sources(&self) -> Vec<Source<'a>> {
        let templates = self.templates;
        let mut sources = Vec::new();
        for lang in LANGS {
            for (tool, template) in &templates.tools {
                let calls = template.phrases(lang).call.iter();
                sources.extend(calls.map(|text| Source { lang, text, leads: Leads::Call(tool) }));
            }
            for chain in &templates.chains {
                let texts = chain.phrases(lang).iter();
                sources.extend(texts.map(|text| Source { lang, text, leads: Leads::Chain(chain) }));
            }
            let other = templates.other.phrases(lang);
            for (step, texts) in OTHER_STEPS.iter().zip([&other.none, &other.person, &other.search])
            {
                let texts = texts.iter();
                sources.extend(texts.map(|text| Source { lang, text, leads: Leads::Other(step) }));
            }
        }
        sources
    }

    /// Renders one phrase; `None` ⇐ its values cannot be drawn or read back.
    fn case(&mut self, source: &Source<'a>, id: String) -> Option<Case> {
        let &Source { lang, text, .. } = source;
        let mut request = String::new();
        let (decision, kind, expected_calls) = match source.leads {
            Leads::Other(step) => {
                let varied = vary(Phrase::parse(text), "", lang, &mut self.chance);
                request = varied.words();
                (step, if step == "search" { Kind::Plain } else { Kind::Refuse }, Vec::new())
            }
            Leads::Call(tool) => {
                let template = self.templates.tools.get(tool)?;
                let title = self.pack.tool(tool).map_or("", |tool| tool.title.as_str());
                let phrase = vary(Phrase::parse(text), title, lang, &mut self.chance);
                let shortlist = [tool.to_owned()];
                let made = self
                    .try_call((tool, template), lang, &phrase, &shortlist, &mut request)
                    .ok()?;
                let (calls, complete) = self.calls(&request, made.steps.iter().map(|(_, s)| s))?;
                if complete { ("call", Kind::Plain, calls) } else { ("ask", Kind::Ask, calls) }
            }
            Leads::Chain(chain) => {
                let phrase = Phrase::parse(text);
                let made = self.try_chain(chain, lang, &phrase, &chain.tools, &mut request).ok()?;
                let (calls, _) = self.calls(&request, made.steps.iter().map(|(_, s)| s))?;
                ("call", Kind::Chain, calls)
            }
        };
        Some(Case {
            id,
            request,
            lang: lang.to_owned(),
            expected_calls,
            expected_answer_facts: Vec::new(),
            forbidden: Vec::new(),
            decision: decision.to_owned(),
            kind,
            documents: Vec::new(),
            datasets: std::collections::BTreeMap::new(),
        })
    }

    /// Reads what a planner should write for a request as the product would: the calls, and whether
    /// nothing is missing.
    fn calls<'s>(
        &self,
        request: &str,
        steps: impl Iterator<Item = &'s String>,
    ) -> Option<(Vec<Expected>, bool)> {
        let mentions = mention::find(request, self.today);
        let (mut calls, mut fields): (Vec<Expected>, Vec<Field>) = (Vec::new(), Vec::new());
        let mut complete = true;
        for (position, said) in steps.enumerate() {
            let offer = self.offer(request, &mentions, position, &fields);
            let name = serde_json::from_str::<Value>(said).ok()?["step"].as_str()?.to_owned();
            let Some(card) = self.desk.card(&name) else { break };
            let cards: [&Card; 1] = [card];
            let Step { mut arguments, origins, .. } = offer.read(said, &cards)?;
            let currency = offer.currency_of(&origins);
            let setting = Setting {
                run: "synth",
                request,
                currency: "USD",
                said_currency: currency.as_deref(),
                locale: &self.locale,
                mentions: &mentions,
                now: self.now,
            };
            // A case need not name what the platform fills in, so it holds only what was said.
            let said = json!(arguments);
            self.desk.fills().apply(&card.spec, &mut arguments, &setting);
            complete &= card.spec.missing(&json!(arguments)).is_empty();
            fields.extend(Field::of(position, &card.spec));
            calls.push(Expected { name, arguments: said });
        }
        Some((calls, complete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::shipped;
    use crate::synth::Templates;

    #[test]
    fn cases_state_calls_that_the_tools_accept_and_no_case_of_the_pack() {
        for pack in shipped().unwrap() {
            let templates = Templates::of(pack).unwrap();
            let own = crate::eval::cases(pack).unwrap();
            let cases = Maker::new(pack, &templates, 7).unwrap().cases(60, true);
            assert_eq!(cases.len(), 60, "{}", pack.manifest.id);
            let calling = cases.iter().filter(|case| case.decision == "call").count();
            assert!(calling >= 30, "{}: {calling}", pack.manifest.id);
            for case in &cases {
                assert!(own.iter().all(|own| own.request != case.request), "{}", case.request);
                assert_eq!(
                    case.decision == "call",
                    !case.expected_calls.is_empty() && case.kind != Kind::Ask
                );
                for call in &case.expected_calls {
                    assert!(pack.tool(&call.name).is_some());
                    assert!(call.arguments.is_object());
                }
            }
        }
    }

    #[test]
    fn a_seed_makes_the_same_cases_again() {
        let pack = &shipped().unwrap()[0];
        let templates = Templates::of(pack).unwrap();
        let requests = || -> Vec<String> {
            let cases = Maker::new(pack, &templates, 3).unwrap().cases(20, false);
            cases.into_iter().map(|case| case.request).collect()
        };
        assert_eq!(requests(), requests());
    }
}
