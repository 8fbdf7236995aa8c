//! SWIFT MT103 and MT940 by their tags.
//!
//! # Source
//! SWIFT Standards MT, categories 1 and 9: tags 20, 25, 28C, 32A, 50, 52, 57, 59, 60, 61, 62, 64,
//! 65, 70, 71A, 86.

use jiff::civil::{Date, date};
use rust_decimal::Decimal;

use super::{Balance, Entry, Message, Party, Payment, Statement, fault, some};
use crate::tool::ToolError;

/// A tag and the lines of its value.
struct Field<'t> {
    tag: &'t str,
    lines: Vec<&'t str>,
}

impl Field<'_> {
    fn first(&self) -> &str {
        self.lines.first().copied().unwrap_or_default()
    }

    fn joined(&self) -> Option<String> {
        let lines: Vec<&str> =
            self.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        some(&lines.join(" "))
    }
}

/// Reads a message, with or without its blocks.
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(text: &str) -> Result<Message, ToolError> {
    let text = text.trim_start_matches('\u{feff}');
    let body = text.split_once("{4:").map_or(text, |(_, rest)| rest);
    let fields = fields(body);
    let has = |tag: &str| fields.iter().any(|field| field.tag == tag);
    let named = text.split_once("{2:").and_then(|(_, rest)| rest.get(1..4));
    let kind = match named {
        Some("103") => Some("MT103"),
        Some("940") => Some("MT940"),
        Some(_) => None,
        None if has("32A") => Some("MT103"),
        None if has("60F") || has("60M") || has("61") => Some("MT940"),
        None => None,
    };
    let id = fields.iter().find(|field| field.tag == "20").and_then(|field| some(field.first()));
    let mut message = Message {
        kind: "MT103",
        version: String::new(),
        id,
        statements: Vec::new(),
        payments: Vec::new(),
        stated_sum: None,
        stated_count: None,
    };
    match kind {
        Some("MT103") => message.payments.push(payment(&fields)?),
        Some(kind) => {
            message.kind = kind;
            message.statements = statements(&fields)?;
        }
        None => return Err(fault("it is no camt, pacs.008, MT103 or MT940 message")),
    }
    message.version = message.kind.to_owned();
    Ok(message)
}

/// Splits a text into fields: a line `:TAG:` opens one, further lines continue it, `-}` ends.
fn fields(body: &str) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    for line in body.lines().map(str::trim_end) {
        if line.starts_with("-}") || line == "-" {
            // Files may hold several messages; the next begins with its own tags.
            continue;
        }
        let tagged = line.strip_prefix(':').and_then(|rest| rest.split_once(':'));
        match tagged.filter(|(tag, _)| is_tag(tag)) {
            Some((tag, value)) => fields.push(Field { tag, lines: vec![value] }),
            None => {
                if let Some(field) = fields.last_mut() {
                    field.lines.push(line);
                }
            }
        }
    }
    fields
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    matches!(bytes.len(), 2 | 3)
        && bytes[..2].iter().all(u8::is_ascii_digit)
        && bytes[2..].iter().all(u8::is_ascii_uppercase)
}

/// Takes the first `count` bytes of ASCII text.
fn take<'t>(text: &mut &'t str, count: usize) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(count)?;
    *text = rest;
    Some(head)
}

/// Reads `YYMMDD`; years from 80 belong to the last century.
fn day(text: &str) -> Result<Date, ToolError> {
    let wrong = || fault(format!("`{text}` is no date YYMMDD"));
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let part = |from: usize| text[from..from + 2].parse::<i8>().unwrap_or(0);
    let year = i16::from(part(0)) + if part(0) < 80 { 2000 } else { 1900 };
    let checked = (1..=12).contains(&part(2)) && (1..=31).contains(&part(4));
    checked
        .then(|| Date::new(year, part(2), part(4)).ok())
        .flatten()
        .filter(|day| *day >= date(1980, 1, 1))
        .ok_or_else(wrong)
}

/// Reads an amount with a decimal comma.
fn amount(text: &str, currency: &str) -> Result<Decimal, ToolError> {
    let parts = text.split_once(',').filter(|(whole, rest)| {
        !whole.is_empty() && [whole, rest].iter().all(|p| p.bytes().all(|b| b.is_ascii_digit()))
    });
    let Some((whole, rest)) = parts else {
        return Err(fault(format!("`{text}` is no amount with a decimal comma, such as 1250,00")));
    };
    super::amount(&format!("{whole}.{}", if rest.is_empty() { "0" } else { rest }), currency)
}

fn payment(fields: &[Field<'_>]) -> Result<Payment, ToolError> {
    let of = |tags: &[&str]| fields.iter().find(|field| tags.contains(&field.tag));
    let mut value = of(&["32A"]).map(Field::first).ok_or_else(|| fault("field 32A is absent"))?;
    let date = day(take(&mut value, 6).unwrap_or_default())?;
    let currency = take(&mut value, 3).unwrap_or_default().to_owned();
    let amount = amount(value, &currency)?;
    let party = |tags: &[&str], agent: &str| {
        let (account, name) = of(tags).map_or((None, None), holder);
        let bic = fields
            .iter()
            .find(|field| field.tag == agent)
            .and_then(|field| some(field.lines.iter().find(|line| !line.starts_with('/'))?));
        Party { name, account, bic }
    };
    let charges = of(&["71A"]).and_then(|field| some(field.first()));
    Ok(Payment {
        id: of(&["20"]).and_then(|field| some(field.first())),
        end_to_end_id: None,
        amount,
        currency,
        value_date: Some(date),
        debtor: party(&["50A", "50F", "50K"], "52A"),
        creditor: party(&["59", "59A", "59F"], "57A"),
        charges: charges.filter(|code| matches!(code.as_str(), "SHA" | "OUR" | "BEN")),
        remittance: of(&["70"]).and_then(Field::joined),
    })
}

/// Returns account and name of a party field: `/ACCOUNT` first, then the name; option F numbers its
/// lines (`1/NAME`), option A holds a BIC instead of a name.
fn holder(field: &Field<'_>) -> (Option<String>, Option<String>) {
    let account = field.first().strip_prefix('/').and_then(some);
    let mut rest = field.lines.iter().skip(usize::from(account.is_some()));
    let name = if field.tag.ends_with('F') {
        rest.find_map(|line| some(line.strip_prefix("1/")?))
    } else if field.tag.ends_with('A') {
        None
    } else {
        rest.find_map(|line| some(line))
    };
    (account, name)
}

fn statements(fields: &[Field<'_>]) -> Result<Vec<Statement>, ToolError> {
    let mut statements: Vec<Statement> = Vec::new();
    let mut position = 0;
    for (i, field) in fields.iter().enumerate() {
        if field.tag == "20" || statements.is_empty() {
            statements.push(Statement::default());
        }
        let Some(statement) = statements.last_mut() else { continue };
        let code = match field.tag {
            "60F" => "OPBD",
            // An intermediate balance opens or closes a page of a longer statement.
            "60M" if statement.balances.is_empty() => "OPBD",
            "62F" | "62M" => "CLBD",
            "60M" => "ITBD",
            "64" => "CLAV",
            "65" => "FWAV",
            _ => "",
        };
        match field.tag {
            "25" => statement.account = some(field.first()),
            "61" => {
                position += 1;
                let currency = statement.balances.first().map(|b| b.currency.clone());
                let currency = currency
                    .ok_or_else(|| fault("an entry (61) comes before the opening balance (60F)"))?;
                let text = fields.get(i + 1).filter(|next| next.tag == "86");
                statement.entries.push(entry(field, text, position, currency)?);
            }
            _ if !code.is_empty() => statement.balances.push(balance(field.first(), code)?),
            _ => {}
        }
    }
    if statements.iter().all(|s| s.balances.is_empty()) {
        return Err(fault("it has no balance (60F, 62F)"));
    }
    Ok(statements)
}

fn balance(value: &str, code: &str) -> Result<Balance, ToolError> {
    let mut rest = value;
    let sign = match take(&mut rest, 1) {
        Some("C") => Decimal::ONE,
        Some("D") => Decimal::NEGATIVE_ONE,
        _ => return Err(fault(format!("balance `{value}` begins with neither C nor D"))),
    };
    let date = day(take(&mut rest, 6).unwrap_or_default())?;
    let currency = take(&mut rest, 3).unwrap_or_default().to_owned();
    let amount = amount(rest, &currency)? * sign;
    Ok(Balance { code: code.to_owned(), amount, currency, date })
}

/// Reads field 61: value date, entry date, mark, funds code, amount, type, reference.
fn entry(
    field: &Field<'_>,
    text: Option<&Field<'_>>,
    position: usize,
    currency: String,
) -> Result<Entry, ToolError> {
    let wrong = |what: &str| fault(format!("entry {position} (61): {what}"));
    let mut rest = field.first();
    let value_date = day(take(&mut rest, 6).unwrap_or_default())?;
    if rest.len() > 4 && rest.as_bytes()[..4].iter().all(u8::is_ascii_digit) {
        take(&mut rest, 4);
    }
    let marks = [("RC", -1), ("RD", 1), ("EC", 1), ("ED", -1), ("C", 1), ("D", -1)];
    let (mark, sign) = marks
        .iter()
        .find(|(mark, _)| rest.starts_with(mark))
        .ok_or_else(|| wrong("neither credit (C) nor debit (D)"))?;
    take(&mut rest, mark.len());
    if rest.starts_with(|c: char| c.is_ascii_uppercase()) {
        // Third letter of the currency, where a bank writes it.
        take(&mut rest, 1);
    }
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(rest.len());
    let value = take(&mut rest, digits).unwrap_or_default();
    let amount = amount(value, &currency)? * Decimal::from(*sign);
    let reference = rest.get(4..).unwrap_or_default();
    let reference = reference.split_once("//").map_or(reference, |(own, _)| own);
    let known = some(reference).filter(|reference| reference != "NONREF");
    let text = text.and_then(Field::joined);
    Ok(Entry {
        id: position.to_string(),
        amount,
        currency,
        value_date,
        reference: known,
        party: text.clone(),
        text,
    })
}
