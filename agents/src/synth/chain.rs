//! Requests that lead to several calls: two tasks in one breath, and tasks of which a later one uses
//! what an earlier one gives. The phrases of the second kind stand in `synth/_chains.toml`.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde::Deserialize;
use serde_json::Value;

use super::example::{Made, Maker, Stated};
use super::point::{end, put, step_of};
use super::vary::framed;
use super::{Example, LANGS, Phrase, Piece, Rejected, Template};
use crate::mention;
use crate::pack::Pack;
use crate::plan::arg::{Shape, shape_at};
use crate::plan::{Card, Desk, Field, SHORTLIST};

/// Share of examples with several calls that a pack's own phrases give, where it has some.
const WRITTEN: f64 = 0.5;

/// Words between two tasks of one request.
const JOINTS: [(&str, &[&str]); 3] = [
    (
        "en",
        &[
            ". Also, ",
            ". And ",
            "; then ",
            ". Then ",
            ". Second: ",
            "\n- ",
            ". Oh, and ",
            ". Plus: ",
            ". After that: ",
            ". Another thing: ",
            " and also ",
            ". Next one: ",
            "\n2) ",
            ". While you are at it, ",
        ],
    ),
    (
        "zh-Hant",
        &[
            "，另外",
            "。還有，",
            "；然後",
            "。再來，",
            "，順便",
            "。第二題：",
            "\n2. ",
            "。接著",
            "，以及",
            "。同時",
        ],
    ),
    (
        "zh-Hans",
        &[
            "，另外",
            "。还有，",
            "；然后",
            "。再来，",
            "，顺便",
            "。第二个：",
            "\n2. ",
            "。接着",
            "，以及",
            "。同时",
        ],
    ),
];

/// How often the second of two joined tasks takes something from the first, where it can.
const REFERRED: f64 = 0.6;

/// Words that refer to what an earlier task gives.
const REFERRING: [(&str, &[&str]); 3] = [
    (
        "en",
        &[
            "that",
            "that figure",
            "the result",
            "it",
            "this number",
            "whatever comes out",
            "the same",
            "what you get",
            "the above",
            "that amount",
        ],
    ),
    (
        "zh-Hant",
        &["那個數字", "這個結果", "算出來的值", "它", "上面的結果", "剛才那個", "得到的數"],
    ),
    (
        "zh-Hans",
        &["那个数字", "这个结果", "算出来的值", "它", "上面的结果", "刚才那个", "得到的数"],
    ),
];

/// A request of several calls as a pack writes it.
///
/// A slot or an implied argument is named by its step: `{1.principal}`, `=> 2.months=12`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Tools in the order of their calls.
    pub tools: Vec<String>,
    /// Arguments of later steps (`2.amount`) that take a value of an earlier result
    /// (`1.monthly_payment`), or, with `=` before it, what an earlier argument was given
    /// (`=1.currency`).
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// English phrases.
    #[serde(default)]
    pub en: Vec<String>,
    /// Phrases in Traditional Chinese.
    #[serde(default, rename = "zh-Hant")]
    pub zh_hant: Vec<String>,
    /// Phrases in Simplified Chinese.
    #[serde(default, rename = "zh-Hans")]
    pub zh_hans: Vec<String>,
}

impl Chain {
    /// Returns the phrases of one of [`LANGS`].
    pub fn phrases(&self, lang: &str) -> &[String] {
        match lang {
            "zh-Hant" => &self.zh_hant,
            "zh-Hans" => &self.zh_hans,
            _ => &self.en,
        }
    }

    /// As [`Chain::phrases`], to add some.
    pub(super) fn phrases_mut(&mut self, lang: &str) -> &mut Vec<String> {
        match lang {
            "zh-Hant" => &mut self.zh_hant,
            "zh-Hans" => &mut self.zh_hans,
            _ => &mut self.en,
        }
    }

    /// Returns the paths of the arguments that the chain states for a tool.
    pub(super) fn arguments_of(&self, tool: &str) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for (step, _) in self.tools.iter().enumerate().filter(|(_, name)| *name == tool) {
            let mut add = |path: &str| paths.extend(of_step(path, step).map(str::to_owned));
            self.links.keys().for_each(|path| add(path));
            for phrase in LANGS.iter().flat_map(|lang| self.phrases(lang)) {
                let phrase = Phrase::parse(phrase);
                phrase.slots().for_each(&mut add);
                phrase.constants.iter().for_each(|(path, _)| add(path));
            }
        }
        paths
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    chain: Vec<Chain>,
}

/// Reads `synth/_chains.toml`.
pub(super) fn parse(text: &str, pack: &Pack) -> Result<Vec<Chain>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    for chain in &file.chain {
        if !(2..=SHORTLIST).contains(&chain.tools.len()) {
            return Err(format!("a chain has 2 to {SHORTLIST} tools, not {}", chain.tools.len()));
        }
        if let Some(name) = chain.tools.iter().find(|name| pack.tool(name).is_none()) {
            return Err(format!("there is no tool `{name}` in the pack"));
        }
    }
    Ok(file.chain)
}

/// Cuts `2.principal` into the path of the argument, if it belongs to step `step` (from 0).
fn of_step(path: &str, step: usize) -> Option<&str> {
    let (number, rest) = path.split_once('.')?;
    (number.parse() == Ok(step + 1)).then_some(rest)
}

impl Maker<'_> {
    /// Makes the examples of one request with several calls; nothing ⇐ its phrases cannot be read.
    pub(super) fn chain(
        &mut self,
        anchor: &str,
        lang: &'static str,
        shortlist: &[String],
    ) -> Vec<Example> {
        let templates = self.templates;
        let near = |chain: &&Chain| {
            !chain.phrases(lang).is_empty() && chain.tools.iter().all(|t| shortlist.contains(t))
        };
        let written: Vec<&Chain> = templates.chains.iter().filter(near).collect();
        let (chain, phrase, text) = match written.choose(&mut self.chance) {
            Some(chain) if self.chance.random_bool(WRITTEN) => {
                let Some(text) = chain.phrases(lang).choose(&mut self.chance) else {
                    return Vec::new();
                };
                ((*chain).clone(), Phrase::parse(text), text.clone())
            }
            _ => {
                let Some(joined) = self.joined(anchor, lang, shortlist) else { return Vec::new() };
                joined
            }
        };
        let phrase = framed(phrase, lang, &mut self.chance);
        self.render_chain(&chain, lang, (&text, &phrase), shortlist)
    }

    /// Renders every written chain once, to show which phrases can be learnt.
    pub(super) fn check_chains(&mut self) {
        let templates = self.templates;
        for chain in &templates.chains {
            for lang in LANGS {
                for text in chain.phrases(lang) {
                    let phrase = Phrase::parse(text);
                    self.insist(|maker| {
                        maker.render_chain(chain, lang, (text, &phrase), &chain.tools)
                    });
                }
            }
        }
    }

    /// Draws two phrases, joins them and writes the whole as one phrase of a chain.
    pub(super) fn pair(&mut self, lang: &'static str) -> Option<(Chain, String)> {
        let templates = self.templates;
        let tools: Vec<(&String, &Template)> = templates.tools.iter().collect();
        let (anchor, template) = *tools.choose(&mut self.chance)?;
        let shortlist = self.shortlist(anchor, template)?;
        let (chain, phrase, _) = self.joined(anchor, lang, &shortlist)?;
        Some((chain, phrase.write()))
    }

    /// Tells whether a phrase, rendered once, is read back; nothing is counted.
    pub(super) fn reads_back(&mut self, chain: &Chain, lang: &'static str, text: &str) -> bool {
        let (phrase, mut shown) = (Phrase::parse(text), String::new());
        let templates = self.templates;
        match chain.tools.as_slice() {
            [tool] => templates.tools.get(tool).is_some_and(|template| {
                let shortlist = std::slice::from_ref(tool);
                self.try_call((tool, template), lang, &phrase, shortlist, &mut shown).is_ok()
            }),
            tools => self.try_chain(chain, lang, &phrase, tools, &mut shown).is_ok(),
        }
    }

    fn render_chain(
        &mut self,
        chain: &Chain,
        lang: &'static str,
        (text, phrase): (&str, &Phrase),
        shortlist: &[String],
    ) -> Vec<Example> {
        let group = format!("{}/chain", self.pack.manifest.id);
        let mut shown = text.to_owned();
        let made = self.try_chain(chain, lang, phrase, shortlist, &mut shown);
        match made.and_then(|made| self.passed(made, lang, text)) {
            Ok(steps) => self.examples(steps.into_iter(), &group, lang, text),
            Err(why) => {
                let entry = self.report.rejected.entry((group, why)).or_insert((0, shown));
                entry.0 += 1;
                Vec::new()
            }
        }
    }

    /// Joins a phrase of one tool and one of another, or of the same tool, into one request.
    fn joined(
        &mut self,
        anchor: &str,
        lang: &'static str,
        shortlist: &[String],
    ) -> Option<(Chain, Phrase, String)> {
        let templates = self.templates;
        let second = shortlist.choose(&mut self.chance)?;
        let mut tools = vec![anchor.to_owned(), second.clone()];
        if self.chance.random_bool(0.5) {
            tools.reverse();
        }
        let mut joined = Phrase { pieces: Vec::new(), constants: Vec::new() };
        let (mut texts, mut links) = (Vec::new(), BTreeMap::new());
        for (step, tool) in tools.iter().enumerate() {
            let text = templates.tools.get(tool)?.phrases(lang).call.choose(&mut self.chance)?;
            let mut phrase = Phrase::parse(text);
            if step > 0 && tools[0] != tools[1] && self.chance.random_bool(REFERRED) {
                links = self.referred(&mut phrase, (&tools[0], tool), lang).unwrap_or_default();
            }
            if step > 0 {
                let joints = JOINTS.iter().find(|(l, _)| *l == lang)?.1;
                if let Some(Piece::Text(last)) = joined.pieces.last_mut() {
                    *last = last.trim_end_matches(['.', '?', '!', '。', '？', '！']).to_owned();
                }
                let joint = *joints.choose(&mut self.chance)?;
                joined.pieces.push(Piece::Text(joint.to_owned()));
            }
            joined.pieces.extend(phrase.pieces.into_iter().map(|piece| match piece {
                Piece::Slot(path) => Piece::Slot(format!("{}.{path}", step + 1)),
                text => text,
            }));
            let constants = phrase.constants.into_iter();
            joined.constants.extend(constants.map(|(path, v)| (format!("{}.{path}", step + 1), v)));
            texts.push(text.as_str());
        }
        Some((Chain { tools, links, ..Chain::default() }, joined, texts.join("\n")))
    }

    /// Puts a word that refers back in place of one value of the second phrase, which is then what the
    /// first call gives; `None` ⇐ it gives nothing that fits.
    fn referred(
        &mut self,
        phrase: &mut Phrase,
        (first, second): (&str, &str),
        lang: &str,
    ) -> Option<BTreeMap<String, String>> {
        let fields = Field::of(0, &self.desk.card(first)?.spec);
        let card = self.desk.card(second)?;
        let fitting = phrase.slots().filter_map(|path| match shape_at(&card.args, path)? {
            Shape::One(slot) => {
                let field = fields.iter().find(|field| field.fills(&slot, &self.locale))?;
                Some((path.to_owned(), field.reference()))
            }
            _ => None,
        });
        let fitting: Vec<(String, String)> = fitting.collect();
        let (path, from) = fitting.choose(&mut self.chance)?;
        let words = REFERRING.iter().find(|(l, _)| *l == lang)?.1;
        let word = (*words.choose(&mut self.chance)?).to_owned();
        let own =
            phrase.pieces.iter_mut().find(|p| matches!(p, Piece::Slot(slot) if slot == path))?;
        *own = Piece::Text(word);
        Some(BTreeMap::from([(format!("2.{path}"), from.trim_start_matches('#').to_owned())]))
    }

    pub(super) fn try_chain(
        &mut self,
        chain: &Chain,
        lang: &'static str,
        phrase: &Phrase,
        shortlist: &[String],
        shown: &mut String,
    ) -> Result<Made, Rejected> {
        let rendered = self.render(&self.merged(chain), phrase, lang)?;
        shown.clone_from(&rendered.text);
        let mentions = mention::find(&rendered.text, self.today);
        let cards: Vec<&Card> = shortlist.iter().filter_map(|n| self.desk.card(n)).collect();
        let (mut fields, mut withs): (Vec<Field>, Vec<Value>) = (Vec::new(), Vec::new());
        let mut prompt = self.prompt(&rendered.text, &mentions, shortlist);
        let (mut steps, mut calls) = (Vec::new(), Vec::new());
        for (step, tool) in chain.tools.iter().enumerate() {
            let unknown = || Rejected::NoArgument(tool.clone());
            let card = self.desk.card(tool).ok_or_else(unknown)?;
            let said: Vec<Stated<'_>> = rendered
                .said
                .iter()
                .filter_map(|(path, span, intent)| Some((of_step(path, step)?, span, intent)))
                .collect();
            let constants: Vec<(String, Value)> = phrase
                .constants
                .iter()
                .filter_map(|(path, value)| Some((of_step(path, step)?.to_owned(), value.clone())))
                .collect();
            let mut with = self.filled(card, &said, &constants, &mentions)?;
            for (path, from) in &chain.links {
                let Some(path) = of_step(path, step) else { continue };
                let value = self.linked(card, path, from, &fields, &withs)?;
                put(&mut with, path, value);
            }
            let completion = step_of(card, &with);
            let offer = self.offer(&rendered.text, &mentions, step, &fields);
            let lacks = || Rejected::Schema(format!("step {} lacks an argument", step + 1));
            let arguments = self.verify(card, &offer, &completion)?.ok_or_else(lacks)?;
            calls.push((tool.clone(), arguments));
            steps.push((prompt.clone(), completion.clone()));
            withs.push(with);
            fields.extend(Field::of(step, &card.spec));
            let outlook = self.offer(&rendered.text, &mentions, step + 1, &fields).outlook(&cards);
            prompt = Desk::after(prompt, &completion, &outlook);
        }
        steps.push((prompt, end()));
        Ok(Made { steps, calls })
    }

    /// The slots of all steps, each path with its step before it.
    fn merged(&self, chain: &Chain) -> Template {
        let mut merged = Template::default();
        for (step, tool) in chain.tools.iter().enumerate() {
            let template = self.templates.tools.get(tool);
            let slots = template.into_iter().flat_map(|template| &template.slots);
            merged.slots.extend(slots.map(|(p, spec)| (format!("{}.{p}", step + 1), spec.clone())));
        }
        merged
    }

    /// Returns what the planner writes for a linked argument.
    fn linked(
        &self,
        card: &Card,
        path: &str,
        from: &str,
        fields: &[Field],
        withs: &[Value],
    ) -> Result<Value, Rejected> {
        let unknown = || Rejected::NotFound(format!("{path} from {from}"));
        if let Some(from) = from.strip_prefix('=') {
            let (step, given) = from.split_once('.').ok_or_else(unknown)?;
            let step: usize = step.parse().map_err(|_| unknown())?;
            let pointer = format!("/{}", given.replace('.', "/"));
            let with = step.checked_sub(1).and_then(|step| withs.get(step)).ok_or_else(unknown)?;
            return with.pointer(&pointer).cloned().ok_or_else(unknown);
        }
        let Some(Shape::One(slot)) = shape_at(&card.args, path) else {
            return Err(Rejected::NoArgument(path.to_owned()));
        };
        let reference = format!("#{from}");
        let field = fields.iter().find(|field| field.reference() == reference);
        let field = field.filter(|field| field.fills(&slot, &self.locale)).ok_or_else(unknown)?;
        Ok(Value::String(field.reference()))
    }
}
