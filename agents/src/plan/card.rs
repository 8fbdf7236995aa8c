//! A tool as the planner sees it: one line of name, arguments and title.

use std::sync::Arc;

use super::arg::{Arg, Shape, args_of};
use crate::tool::ToolSpec;

/// Most literals of a choice that a card spells out.
const MAX_LITERALS: usize = 8;

/// Arguments that the platform fills and no request states.
const PLATFORM: [&str; 2] = ["idempotency_key", "timezone"];

/// A tool with the arguments that a request can state.
#[derive(Debug, Clone)]
pub struct Card {
    /// The contract.
    pub spec: Arc<ToolSpec>,
    /// Arguments in the order of the schema.
    pub args: Vec<Arg>,
    /// The line that stands in the prompt.
    pub line: String,
}

impl Card {
    /// Tells whether the platform fills an argument of this name.
    pub fn is_platforms(name: &str) -> bool {
        PLATFORM.contains(&name)
    }

    /// Builds the card of a tool. `practised` are the arguments that training examples use; where it
    /// is empty (a pack without examples), all arguments are shown.
    pub fn new(spec: Arc<ToolSpec>, practised: &[String]) -> Self {
        let args: Vec<Arg> = args_of(&spec.input_schema)
            .into_iter()
            .filter(|arg| !Self::is_platforms(&arg.name))
            .filter(|arg| practised.is_empty() || arg.required || practised.contains(&arg.name))
            .collect();
        let mut card = Self { spec, args, line: String::new() };
        card.line = card.line_as(&card.spec.name, &card.spec.title, &str::to_owned);
        card
    }

    /// Writes the line of a tool that goes by another name and title, and whose arguments are
    /// `called` something else.
    pub fn line_as(&self, name: &str, title: &str, called: &dyn Fn(&str) -> String) -> String {
        let mut line = format!("{name}(");
        write_args(&mut line, &self.args, called);
        line.push_str(&format!(") {title}"));
        line
    }
}

fn write_args(line: &mut String, args: &[Arg], called: &dyn Fn(&str) -> String) {
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            line.push(' ');
        }
        line.push_str(&called(&arg.name));
        line.push_str(if arg.required { ":" } else { "?:" });
        match &arg.shape {
            Shape::One(slot) => line.push_str(&slot.tag()),
            Shape::Many(slot) => {
                line.push_str(&format!("[{}]", slot.tag()));
            }
            Shape::Choice(values) => write_literals(line, values),
            Shape::Choices(values) => {
                line.push('[');
                write_literals(line, values);
                line.push(']');
            }
            Shape::Flag => line.push_str("flag"),
            Shape::Object(args) => {
                line.push('{');
                write_args(line, args, called);
                line.push('}');
            }
            Shape::Objects(args) => {
                line.push_str("[{");
                write_args(line, args, called);
                line.push_str("}]");
            }
        }
    }
}

fn write_literals(line: &mut String, values: &[String]) {
    let shown: Vec<&str> = values.iter().take(MAX_LITERALS).map(String::as_str).collect();
    line.push_str(&shown.join("|"));
}
