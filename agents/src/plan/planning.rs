//! The planning stage: request in, checked plan out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use runtime::Prompt;
use serde_json::{Value, json};

use super::again;
use super::arg::{Locale, Shape};
use super::asked::{Asked, Open, in_order};
use super::card::Card;
use super::field::{self, Field};
use super::fill::{Fills, Setting};
use super::lead::Leads;
use super::planner::{PlanError, Planner, Words};
use super::sequence;
use super::shortlist::{Shortlister, code_word};
use super::step::{END, OTHER_STEPS, Offer, Step};
use super::supply::supplies;
use super::{CallPlan, Decision, HandedOver, MadeBy, Origin, Plan};
use crate::mention::{self, Mention};
use crate::pack::{Pack, PackError};
use crate::run::Settings;
use crate::synth::Templates;
use crate::tool::ToolSpec;

/// Tools that the planner chooses from.
pub const SHORTLIST: usize = 4;

/// Version of the prompt's form: of what stands in it, in which order, under which special tokens.
/// To be raised with every change that a planner of before was not trained on.
pub const PROMPT_VERSION: u32 = 2;

/// Most calls of one plan.
pub(super) const MAX_CALLS: usize = 6;

/// Special token before what an earlier call of the plan will give.
pub(super) const RESULT: &str = "result";

/// Where a clause of a request may end.
const CLAUSE_ENDS: [char; 14] =
    ['.', '?', '!', ';', ',', '\n', '。', '？', '！', '；', '，', '、', ':', '：'];

/// Fewest characters of a clause that could be a task.
const SHORT: usize = 6;

/// Plans requests over the tools of one pack.
pub struct Planning {
    pack: Arc<Pack>,
    planner: Arc<dyn Planner>,
    /// Plans where the planner is not sure enough.
    larger: Option<Arc<dyn Planner>>,
    desk: Arc<Desk>,
}

/// What planning and the making of training examples share: cards, shortlister, fills.
#[derive(Debug)]
pub struct Desk {
    cards: Vec<Card>,
    shortlister: Shortlister,
    fills: Fills,
}

impl Desk {
    /// Prepares the tools of a pack.
    ///
    /// # Errors
    /// [`PackError`] when `fill.toml` is broken.
    pub fn new(pack: &Pack, templates: &Templates) -> Result<Self, PackError> {
        let fills = Fills::of(pack)?;
        let cards = pack
            .tools
            .iter()
            .map(|spec| {
                let mut card = Card::new(Arc::clone(spec), &templates.practised(&spec.name));
                relax(&mut card, &fills);
                card
            })
            .collect();
        Ok(Self { cards, shortlister: Shortlister::new(pack, templates), fills })
    }

    /// Returns the card of a tool.
    pub fn card(&self, tool: &str) -> Option<&Card> {
        self.cards.iter().find(|card| card.spec.name == tool)
    }

    /// Returns what the pack supplies.
    pub fn fills(&self) -> &Fills {
        &self.fills
    }

    /// Returns the cards by likelihood, best first.
    pub fn rank(&self, request: &str, mentions: &[Mention]) -> Vec<&Card> {
        let order = self.shortlister.rank(&without(request, mentions));
        order.into_iter().filter_map(|index| self.cards.get(index)).collect()
    }

    /// Returns the tools that a request may be about. A request of several sentences or clauses may
    /// have several tasks, so the likeliest tool of each clause is among them.
    pub fn shortlist(&self, request: &str, mentions: &[Mention]) -> Vec<&Card> {
        let words = without(request, mentions);
        let order = self.shortlister.rank(&words);
        let mut chosen: Vec<usize> = order.iter().copied().take(SHORTLIST / 2).collect();
        let clauses = words.split(CLAUSE_ENDS).filter(|c| c.trim().chars().count() >= SHORT);
        for clause in clauses {
            let best = self.shortlister.rank(clause).into_iter().next();
            chosen.extend(best.filter(|best| chosen.len() < SHORTLIST && !chosen.contains(best)));
        }
        let rest: Vec<usize> = order.into_iter().filter(|index| !chosen.contains(index)).collect();
        chosen.extend(rest.into_iter().take(SHORTLIST - chosen.len()));
        chosen.into_iter().filter_map(|index| self.cards.get(index)).collect()
    }

    /// Extends a prompt by a step that was planned and by what its call will give.
    pub fn after(prompt: Prompt, step: &str, outlook: &str) -> Prompt {
        prompt.text(step).special(RESULT).text(outlook).special("plan")
    }

    /// Builds the prompt: the cards in order of their names, so that equal shortlists share a
    /// prefix, then the request with its references.
    pub fn prompt(request: &str, mentions: &[Mention], cards: &mut [&Card]) -> Prompt {
        cards.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let lines: Vec<&str> = cards.iter().map(|card| card.line.as_str()).collect();
        Prompt::new()
            .special("tools")
            .text(lines.join("\n"))
            .special("request")
            .text(mention::annotate(request, mentions))
            .special("plan")
    }
}

/// Arguments that the pack supplies are no longer required of the request.
fn relax(card: &mut Card, fills: &Fills) {
    fn walk(shape: &mut Shape, tool: &str, path: &str, fills: &Fills) {
        let (args, path) = match shape {
            Shape::Object(args) => (args, path.to_owned()),
            Shape::Objects(args) => (args, format!("{path}.*")),
            _ => return,
        };
        for arg in args {
            let path = format!("{path}.{}", arg.name);
            arg.required &= !fills.covers(tool, &path);
            walk(&mut arg.shape, tool, &path, fills);
        }
    }
    let tool = card.spec.name.clone();
    for arg in &mut card.args {
        arg.required &= !fills.covers(&tool, &arg.name);
        let path = arg.name.clone();
        walk(&mut arg.shape, &tool, &path, fills);
    }
}

/// Returns the request with its codes as words for their shapes and without its other values.
fn without(request: &str, mentions: &[Mention]) -> String {
    let mut out = String::with_capacity(request.len());
    let mut at = 0;
    for mention in mentions {
        out.push_str(&request[at..mention.start]);
        out.push(' ');
        // A name may be a word of the trade, and a code tells by its shape; other values are dropped.
        if matches!(mention.kind, mention::Kind::Name { .. }) {
            out.push_str(&mention.text);
        } else if let Some(word) = code_word(mention) {
            out.push_str(&word);
            out.push(' ');
        }
        at = mention.end;
    }
    out.push_str(&request[at..]);
    out
}

impl Planning {
    /// Prepares planning for a pack.
    ///
    /// # Errors
    /// [`PackError`] when `synth/` or `fill.toml` is broken.
    pub fn new(pack: Arc<Pack>, planner: Arc<dyn Planner>) -> Result<Self, PackError> {
        let templates = Templates::of(&pack)?;
        let desk = Arc::new(Desk::new(&pack, &templates)?);
        Ok(Self { desk, pack, planner, larger: None })
    }

    /// Returns planning of the same pack by another planner; shares what was prepared.
    #[must_use]
    pub fn with_planner(&self, planner: Arc<dyn Planner>) -> Self {
        Self {
            pack: Arc::clone(&self.pack),
            planner,
            larger: self.larger.clone(),
            desk: Arc::clone(&self.desk),
        }
    }

    /// Lets a larger planner plan what this one is not sure of.
    #[must_use]
    pub fn with_larger(self, larger: Option<Arc<dyn Planner>>) -> Self {
        Self { larger, ..self }
    }

    /// Returns the same planning, which gives up between two tokens once `cancel` is set.
    #[must_use]
    pub fn cancelled_by(&self, cancel: &Arc<AtomicBool>) -> Self {
        let stoppable = |planner: &Arc<dyn Planner>| {
            planner.cancelled_by(cancel).unwrap_or_else(|| Arc::clone(planner))
        };
        let larger = self.larger.as_ref().map(stoppable);
        self.with_planner(stoppable(&self.planner)).with_larger(larger)
    }

    /// Returns the pack.
    pub(super) fn pack(&self) -> &Pack {
        &self.pack
    }

    /// Returns what planning was prepared with.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Returns the planner.
    pub fn planner(&self) -> &Arc<dyn Planner> {
        &self.planner
    }

    /// Plans a request. `run` is the identifier that idempotency keys are derived from.
    ///
    /// All calls are planned before the first one runs, so nothing that a tool reads can add one.
    /// Where the planner is less sure than the tenant asks for and there is a larger one, that one's
    /// plan takes its place; where the larger one fails, the first plan stands, unsure as it is.
    ///
    /// # Errors
    /// [`PlanError`] when the planner fails or takes too long.
    pub fn plan(
        &self,
        run: &str,
        request: &str,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Plan, PlanError> {
        let begun = Instant::now();
        let first = self.plan_by(&*self.planner, run, request, settings, now)?;
        let Some(larger) = self.larger.as_ref().filter(|_| first.is_unsure()) else {
            return Ok(first);
        };
        let Ok(second) = self.plan_by(&**larger, run, request, settings, now) else {
            return Ok(first);
        };
        Ok(Plan {
            handed_over: Some(HandedOver {
                model: first.model,
                confidence: first.confidence,
                output: first.output,
            }),
            ms: begun.elapsed().as_secs_f64() * 1e3,
            ..second
        })
    }

    /// Returns what the planner's classifier takes the request to ask for, if it has one.
    /// `seen` is the request as the planner sees it.
    fn asked(
        &self,
        planner: &dyn Planner,
        (request, seen): (&str, &str),
        mentions: &[Mention],
    ) -> Option<Asked> {
        let mut scores = planner.intents(&self.pack.manifest.id, seen);
        if scores.is_empty() {
            return None;
        }
        let of_parts = || -> Vec<Vec<(&str, f32)>> {
            parts(seen).map(|part| planner.intents(&self.pack.manifest.id, part)).collect()
        };
        if sequence::is_said(request) {
            sequence::raise(&mut scores, &of_parts());
        }
        // Ranking looks at every phrase, so only where it may find a tool that was added later.
        let known = |tool: &str| scores.iter().any(|(label, _)| *label == tool);
        let added = self.pack.tools.iter().any(|tool| !known(&tool.name));
        let ranked = if added { self.desk.rank(request, mentions) } else { Vec::new() };
        let nearest = ranked.first().map(|card| card.spec.name.as_str());
        let mut asked = Asked::of(&scores, nearest)?;
        if asked.has_several() {
            asked.order(&of_parts());
        }
        Some(asked)
    }

    /// Returns what the planner's classifiers take the values of the request to be for in each call, and
    /// for a tool that is called more than once, in each of its calls.
    fn leads(
        &self,
        planner: &dyn Planner,
        seen: &str,
        asked: Option<&Asked>,
        cards: &[&Card],
    ) -> (Vec<(String, Leads)>, Option<Vec<Leads>>) {
        let pack = &self.pack.manifest.id;
        let of = |card: &&Card| {
            let call = &card.spec.name;
            let places = planner.places(pack, call, seen);
            let choices = planner.choices(pack, call, seen);
            Some((call.clone(), Leads::of(places, choices)?))
        };
        let mut leads: Vec<(String, Leads)> = cards.iter().filter_map(of).collect();
        let Some(asked) = asked else { return (leads, None) };
        let meant = leads.iter_mut().filter(|(call, _)| asked.means(call));
        Leads::tell_apart(&mut meant.map(|(_, leads)| leads).collect::<Vec<_>>());
        let dealt = asked.only_tool().and_then(|(tool, again)| {
            let (_, own) = leads.iter().find(|(call, _)| call == tool)?;
            let card = self.desk.card(tool)?;
            let order = |choices: &mut Vec<String>| {
                let parts: Vec<Vec<(&str, f32)>> = parts(seen)
                    .map(|p| planner.choices(pack, tool, p).unwrap_or_default())
                    .collect();
                in_order(choices, &parts);
            };
            again::dealt(own, &card.args, again, order)
        });
        // Where nothing tells for which of several calls a value is, the decoder says.
        if dealt.is_none() && asked.is_again() {
            leads.clear();
        }
        (leads, dealt)
    }

    fn plan_by(
        &self,
        planner: &dyn Planner,
        run: &str,
        request: &str,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Plan, PlanError> {
        let begun = Instant::now();
        let locale = Locale { timezone: settings.timezone.clone() };
        let request = request.trim();
        let mentions = mention::find(request, today(&locale, now));
        let seen = mention::annotate(request, &mentions);
        let asked = self.asked(planner, (request, &seen), &mentions);
        let mut cards = match &asked {
            Some(asked) => asked.shown().filter_map(|name| self.desk.card(name)).collect(),
            None => self.desk.shortlist(request, &mentions),
        };
        let mut prompt = Desk::prompt(request, &mentions, &mut cards);
        let (mut leads, dealt) = self.leads(planner, &seen, asked.as_ref(), &cards);
        let confidence = asked.as_ref().map_or(1.0, |asked| asked.confidence);
        let mut words = Words { confidence, ..Words::default() };
        let (mut calls, mut fields) = (Vec::new(), Vec::new());
        let about = Offer::of(request, &mentions, &locale);
        let decision = loop {
            let planned = calls.len();
            let open = match (&dealt, cards_of(asked.as_ref(), &cards)) {
                (Some(dealt), Some((tool, card))) => {
                    if let Some(own) = dealt.get(planned) {
                        leads
                            .iter_mut()
                            .filter(|(call, _)| *call == tool)
                            .for_each(|(_, l)| l.clone_from(own));
                        Open { cards: vec![card], others: Vec::new() }
                    } else {
                        Open { cards: Vec::new(), others: vec![END] }
                    }
                }
                _ => open_steps(asked.as_ref(), &cards, &calls),
            };
            let offer = Offer { planned, fields: &fields, leads: &leads, ..about };
            let said = match open.only() {
                Some(step) => Words::forced(&json!({ "step": step })),
                None => planner.complete(&prompt, &offer.schema_of(&open.cards, &open.others))?,
            };
            let step = offer
                .read(&said.text, &open.cards)
                .ok_or_else(|| PlanError::Unusable(said.text.clone()))?;
            let currency = offer.currency_of(&step.origins);
            let setting = Setting {
                run,
                request,
                currency: &settings.currency,
                said_currency: currency.as_deref(),
                locale: &locale,
                mentions: &mentions,
                now,
            };
            let ended = step.name == END;
            words.add(&said);
            if ended {
                break Decision::Call { calls };
            }
            match self.decide(step, &setting, (&offer, &said.text)) {
                Decision::Call { calls: mut one } => calls.append(&mut one),
                other => break other,
            }
            if calls.len() == MAX_CALLS || !planner.chains() {
                break Decision::Call { calls };
            }
            let spec = calls.last().and_then(|call: &CallPlan| self.pack.tool(&call.tool));
            fields.extend(spec.into_iter().flat_map(|spec| Field::of(calls.len() - 1, spec)));
            let planned = calls.len();
            let offer = Offer { planned, fields: &fields, leads: &leads, ..about };
            prompt = Desk::after(prompt, &said.text, &offer.outlook(&cards));
        };
        let shortlist = cards.iter().map(|card| card.spec.name.clone()).collect();
        let (score, calibration) = (words.confidence, planner.calibration());
        let usual = || calibration.map_or(0.0, |fitted| fitted.abstain_below);
        #[expect(clippy::cast_possible_truncation, reason = "a probability")]
        let abstain_below = settings.abstain_below.unwrap_or_else(usual) as f32;
        Ok(Plan {
            decision,
            mentions,
            shortlist,
            output: words.text,
            confidence: calibration.map_or(score, |fitted| fitted.confidence(score)),
            score,
            abstain_below,
            handed_over: None,
            model: planner.version().to_owned(),
            made_by: MadeBy::of(&self.pack, planner.digest()),
            prompt_tokens: words.prompt_tokens,
            decoded_tokens: words.decoded_tokens,
            ms: begun.elapsed().as_secs_f64() * 1e3,
        })
    }

    /// Fills what the platform supplies and checks the whole schema.
    fn decide(&self, step: Step, setting: &Setting<'_>, by: (&Offer<'_>, &str)) -> Decision {
        let Some(spec) = self.pack.tool(&step.name) else {
            return match step.name.as_str() {
                "person" => Decision::Person,
                "search" => Decision::Search,
                _ => Decision::NoTool,
            };
        };
        let name = step.name.clone();
        let (step, missing) = self.supplied(spec, step, setting, by);
        let (offer, _) = by;
        let Step { arguments, origins, .. } = relieved(offer, spec, step);
        if !missing.is_empty() {
            return Decision::Ask { tool: name, missing };
        }
        let arguments = Value::Object(arguments);
        // Values of earlier results are checked when they are there.
        let checked =
            if field::is_pending(&arguments) { Ok(()) } else { spec.check_arguments(&arguments) };
        match checked {
            Ok(()) => Decision::Call {
                calls: vec![CallPlan { tool: name, arguments, effect: spec.effect, origins }],
            },
            Err(error) => Decision::Invalid { tool: name, message: error.to_string() },
        }
    }
}

impl Planning {
    /// Fills in what the platform supplies, and what the planner left out although the request says it.
    /// Returns the step with what it lacks still.
    fn supplied(
        &self,
        spec: &ToolSpec,
        step: Step,
        setting: &Setting<'_>,
        (offer, said): (&Offer<'_>, &str),
    ) -> (Step, Vec<String>) {
        let whole = |mut step: Step| {
            step.origins.extend(self.desk.fills.apply(spec, &mut step.arguments, setting));
            let missing = spec.missing(&Value::Object(step.arguments.clone()));
            (step, missing)
        };
        let (filled, missing) = whole(step.clone());
        let Some(card) = self.desk.card(&spec.name).filter(|_| !missing.is_empty()) else {
            return (filled, missing);
        };
        let mut open = step;
        for supply in supplies(offer, card, (&filled.arguments, said), &missing) {
            let with = |mut step: Step| {
                step.arguments.insert(supply.name.clone(), supply.value.clone());
                step.origins.push(supply.origin.clone());
                step
            };
            if missing.contains(&supply.name) {
                open = with(open);
                if let (step, missing) = whole(open.clone())
                    && missing.is_empty()
                {
                    return (step, missing);
                }
            } else if let (step, missing) = whole(with(open.clone()))
                && missing.is_empty()
            {
                return (step, missing);
            }
        }
        whole(open)
    }
}

/// Leaves out the one argument with which the schema refuses a call and without which it does not: a
/// value that is not surely meant for it, and whose place the classifier thinks least likely.
fn relieved(offer: &Offer<'_>, spec: &ToolSpec, step: Step) -> Step {
    let whole = Value::Object(step.arguments.clone());
    let leads = offer.leads.iter().find(|(call, _)| *call == step.name).map(|(_, leads)| leads);
    let Some(leads) = leads.filter(|_| !field::is_pending(&whole)) else { return step };
    if spec.check_arguments(&whole).is_ok() {
        return step;
    }
    let pointed = step.origins.iter().filter_map(|origin| match origin {
        Origin::Request { pointer, text } => {
            let name = pointer.strip_prefix('/').filter(|name| !name.contains('/'))?;
            let at = offer.mentions.iter().filter(|m| m.text == *text);
            let likely = at.filter_map(|m| leads.probability(pointer, m.id)).fold(0.0, f32::max);
            (!leads.needs(pointer)).then_some((name.to_owned(), likely))
        }
        _ => None,
    });
    let mut doubtful: Vec<(String, f32)> = pointed.collect();
    doubtful.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (name, _) in doubtful {
        let mut arguments = step.arguments.clone();
        arguments.remove(&name);
        if spec.check_arguments(&Value::Object(arguments.clone())).is_ok() {
            let pointer = format!("/{name}");
            let mut origins = step.origins;
            origins.retain(|origin| origin.pointer() != pointer);
            return Step { name: step.name, arguments, origins };
        }
    }
    step
}

/// Cuts a request into its clauses, or into halves where it is one.
fn parts(request: &str) -> impl Iterator<Item = &str> {
    let clauses: Vec<&str> = request
        .split(CLAUSE_ENDS)
        .filter(|clause| clause.trim().chars().count() >= SHORT)
        .collect();
    let middle = request.char_indices().nth(request.chars().count() / 2).map_or(0, |(at, _)| at);
    let (first, second) = request.split_at(middle);
    if clauses.len() > 1 { clauses.into_iter() } else { vec![first, second].into_iter() }
}

/// Returns the steps that may come after these calls.
fn open_steps<'c>(asked: Option<&Asked>, cards: &[&'c Card], calls: &[CallPlan]) -> Open<'c> {
    let called: Vec<&str> = calls.iter().map(|call| call.tool.as_str()).collect();
    match asked {
        Some(asked) => asked.open(cards, &called),
        None if called.is_empty() => Open { cards: cards.to_vec(), others: OTHER_STEPS.to_vec() },
        None => Open { cards: cards.to_vec(), others: vec![END] },
    }
}

/// Returns the only tool that is asked for, with its card.
fn cards_of<'c>(asked: Option<&'c Asked>, cards: &[&'c Card]) -> Option<(&'c str, &'c Card)> {
    let (tool, _) = asked?.only_tool()?;
    Some((tool, cards.iter().find(|card| card.spec.name == tool)?))
}

/// Returns the tenant's day.
pub(super) fn today(locale: &Locale, now: Timestamp) -> Date {
    now.to_zoned_datetime(TimeZone::get(&locale.timezone).unwrap_or(TimeZone::UTC)).date()
}
