//! Laws of the policy layer on drawn calls.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use agents::policy::flow::{AllowList, Argument, Decision, Flow, Reach, decide};
use agents::provenance::{Label, Secrecy, Source};
use proptest::prelude::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn source() -> impl Strategy<Value = Source> {
    prop::sample::select(Source::ALL.to_vec())
}

fn secrecy() -> impl Strategy<Value = Secrecy> {
    prop::sample::select(vec![Secrecy::Public, Secrecy::Internal, Secrecy::Restricted])
}

fn label() -> impl Strategy<Value = Label> {
    (source(), secrecy()).prop_map(|(source, secrecy)| Label { secrecy, ..Label::of(source) })
}

fn arguments() -> impl Strategy<Value = Vec<Argument>> {
    let one = (label(), prop::collection::vec(label(), 0..3), prop::bool::weighted(0.1));
    prop::collection::vec(one, NAMES.len()).prop_map(|all| {
        let named = NAMES.iter().zip(all);
        named
            .map(|(name, (label, found, is_empty))| Argument {
                name: (*name).to_owned(),
                label,
                addresses: found.into_iter().map(|label| ("x.com".to_owned(), label)).collect(),
                is_empty,
            })
            .collect()
    })
}

fn some_names() -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(NAMES.map(str::to_owned).to_vec(), 0..=NAMES.len())
}

fn flow() -> impl Strategy<Value = Flow> {
    let reach =
        prop::sample::select(vec![Reach::Read, Reach::Write, Reach::External, Reach::Irreversible]);
    (reach, some_names(), some_names()).prop_map(|(reach, sinks, content)| Flow {
        reach,
        sinks,
        content,
        names: None,
        kept: Vec::new(),
        issued: Vec::new(),
        thing: None,
        restricted: Vec::new(),
    })
}

/// The same arguments, each derived from one more value.
fn lowered(arguments: &[Argument], by: &[Label]) -> Vec<Argument> {
    let pairs = arguments.iter().zip(by);
    pairs
        .map(|(argument, with)| Argument {
            label: argument.label.clone().join(with),
            addresses: argument
                .addresses
                .iter()
                .map(|(address, label)| (address.clone(), label.clone().join(with)))
                .collect(),
            ..argument.clone()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lowering_trust_never_loosens_a_decision(
        flow in prop::option::weighted(0.9, flow()),
        arguments in arguments(),
        by in prop::collection::vec(label(), NAMES.len()),
        (carries, more) in (secrecy(), secrecy()),
        (planned, still) in (prop::bool::weighted(0.9), prop::bool::weighted(0.9)),
    ) {
        let tools = |listed: bool| AllowList::of(listed.then_some("tool"));
        let before = decide(&tools(planned), carries, "tool", flow.as_ref(), &arguments);
        let after = decide(
            &tools(planned && still), carries.max(more), "tool", flow.as_ref(), &lowered(&arguments, &by),
        );
        prop_assert!(after.strictness() >= before.strictness(), "{before:?} became {after:?}");
        // A tool that stops declaring its flow is not trusted more either.
        let undeclared = decide(&tools(planned), carries, "tool", None, &arguments);
        prop_assert!(undeclared.strictness() >= before.strictness().min(1));
    }

    #[test]
    fn labels_form_a_lattice((a, b, c) in (label(), label(), label())) {
        let join = |x: &Label, y: &Label| x.clone().join(y);
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert!(join(&a, &b).source <= a.source && join(&a, &b).secrecy >= a.secrecy);
    }

    #[test]
    fn untrusted_text_never_supplies_a_sink_without_a_person(
        mut flow in flow(), arguments in arguments(), at in 0..NAMES.len(), low in 0usize..3,
    ) {
        flow.sinks.push(NAMES[at].to_owned());
        let mut arguments = arguments;
        arguments[at].label.source = Source::ALL[low];
        arguments[at].is_empty = false;
        let decision = decide(&AllowList::of(["tool"]), Secrecy::Public, "tool", Some(&flow), &arguments);
        prop_assert!(decision != Decision::Allow);
    }
}
