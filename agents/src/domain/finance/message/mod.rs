//! Bank messages in one form: ISO 20022 statements and credit transfers, SWIFT MT103 and MT940.

mod iso20022;
mod swift;
mod xml;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::id_validate;
use crate::tool::{ToolError, money};

/// Largest message, bytes.
const MAX_BYTES: usize = 16 << 20;
/// Most entries or payments of a message.
const MAX_ROWS: usize = 50_000;

/// A balance of a statement.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    pub(super) code: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) date: Date,
}

/// A booking of a statement; debits are negative.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) value_date: Date,
    pub(super) reference: Option<String>,
    pub(super) text: Option<String>,
    /// The other party, where the message names one.
    pub(super) party: Option<String>,
}

/// One statement of a message, which its balances must explain.
#[derive(Debug, Clone, Default)]
pub(super) struct Statement {
    pub(super) account: Option<String>,
    pub(super) balances: Vec<Balance>,
    pub(super) entries: Vec<Entry>,
    /// Entries that the statement says it has, and their sum without signs.
    pub(super) stated_count: Option<String>,
    pub(super) stated_sum: Option<Decimal>,
}

/// One credit transfer.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) id: Option<String>,
    pub(super) end_to_end_id: Option<String>,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) value_date: Option<Date>,
    pub(super) debtor: Party,
    pub(super) creditor: Party,
    pub(super) charges: Option<String>,
    pub(super) remittance: Option<String>,
}

/// A side of a payment.
#[derive(Debug, Clone, Default)]
pub(super) struct Party {
    pub(super) name: Option<String>,
    pub(super) account: Option<String>,
    pub(super) bic: Option<String>,
}

/// A message as read.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// `camt.053`, `pacs.008`, `MT103` …
    pub(super) kind: &'static str,
    /// Kind with version, for the method line.
    pub(super) version: String,
    pub(super) id: Option<String>,
    pub(super) statements: Vec<Statement>,
    pub(super) payments: Vec<Payment>,
    /// Control sum and count of the payments that the header states.
    pub(super) stated_sum: Option<Decimal>,
    pub(super) stated_count: Option<String>,
}

/// A control check: name, result, expected and found value.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Check {
    pub(super) fn ok(&self) -> bool {
        self.expected == self.found
    }
}

/// An entry or payment as a line to be reconciled.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) date: Date,
    pub(super) reference: String,
    pub(super) name: String,
}

/// Builds the error of a message that cannot be read.
fn fault(message: impl std::fmt::Display) -> ToolError {
    ToolError::invalid("", format!("the message cannot be read: {message}"))
}

/// Tells whether bytes look like a bank message rather than a table.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let bytes = bytes.trim_ascii_start();
    bytes.starts_with(b"<") || bytes.starts_with(b"{1:") || bytes.starts_with(b":20:")
}

/// Tells whether a text is XML.
pub(super) fn is_xml(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with('<')
}

/// Reads a message.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ no message of a known type, too large or deep, a document type, or
/// a field that breaks its rules.
pub(super) fn read(bytes: &[u8]) -> Result<Message, ToolError> {
    if bytes.len() > MAX_BYTES {
        return Err(fault("it is larger than 16 MiB"));
    }
    let message = match std::str::from_utf8(bytes) {
        Ok(text) if is_xml(text) => iso20022::read(text)?,
        Ok(text) => swift::read(text)?,
        // MT files in the wild carry a single-byte character set; XML must be UTF-8.
        Err(_) if bytes.trim_ascii_start().starts_with(b"<") => {
            return Err(fault("XML must be encoded as UTF-8"));
        }
        Err(_) => swift::read(&String::from_utf8_lossy(bytes))?,
    };
    let rows = message.statements.iter().map(|s| s.entries.len()).sum::<usize>();
    if rows.max(message.payments.len()) > MAX_ROWS {
        return Err(fault(format!("it holds more than {MAX_ROWS} entries")));
    }
    Ok(message)
}

/// Reads an amount and gives it at least the decimals of its currency.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ no plain decimal number of at most 15 and 6 digits, or no currency
/// code.
fn amount(text: &str, currency: &str) -> Result<Decimal, ToolError> {
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(fault(format!("`{currency}` is no currency code such as EUR")));
    }
    let text = text.trim();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: Option<Decimal> = text.parse().ok().filter(|_| plain);
    let mut value = value
        .filter(|v| v.scale() <= 6 && *v < Decimal::from(1_000_000_000_000_000u64))
        .ok_or_else(|| {
            fault(format!("`{text}` is no amount of at most 15 digits and 6 decimals"))
        })?;
    let least = money::minor_units(currency);
    if value.scale() < least {
        value.rescale(least);
    }
    Ok(value)
}

/// Returns a text without outer spaces, or `None` when nothing is left.
fn some(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl Message {
    /// Returns the entries or payments as lines; a payment without a date is left out.
    pub(super) fn rows(&self) -> Vec<Row> {
        let entries = self.statements.iter().flat_map(|s| &s.entries).map(|entry| Row {
            id: entry.id.clone(),
            amount: entry.amount,
            currency: entry.currency.clone(),
            date: entry.value_date,
            // The remittance text names invoices where the bank's own reference does not.
            reference: [entry.reference.as_deref(), entry.text.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
            name: entry.party.clone().unwrap_or_default(),
        });
        let payments = self.payments.iter().enumerate().filter_map(|(i, payment)| {
            Some(Row {
                id: payment.id.clone().unwrap_or_else(|| (i + 1).to_string()),
                amount: payment.amount,
                currency: payment.currency.clone(),
                date: payment.value_date?,
                reference: payment.remittance.clone().unwrap_or_default(),
                name: payment.debtor.name.clone().unwrap_or_default(),
            })
        });
        entries.chain(payments).collect()
    }

    /// Returns the control checks that apply, in the order of the contract.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let closings: Vec<Check> = self.statements.iter().filter_map(Statement::closing).collect();
        // Of several statements the first that fails is shown.
        let at = closings.iter().position(|check| !check.ok()).unwrap_or(0);
        checks.extend(closings.into_iter().nth(at));
        let sums = self.statements.iter().filter_map(|statement| {
            let found = statement.entries.iter().map(|entry| entry.amount.abs()).sum();
            Some((statement.stated_sum?, found))
        });
        let paid: Decimal = self.payments.iter().map(|payment| payment.amount).sum();
        let sums: Vec<(Decimal, Decimal)> =
            sums.chain(self.stated_sum.map(|stated| (stated, paid))).collect();
        let at = sums.iter().position(|(stated, found)| stated != found).unwrap_or(0);
        checks.extend(sums.get(at).map(|(stated, found)| {
            let scale = stated.scale().max(found.scale());
            let say = |value: &Decimal| money::round_to(*value, scale).to_string();
            Check { name: "control_sum", expected: say(stated), found: say(found) }
        }));
        let counts = self.statements.iter().filter_map(|statement| {
            Some((statement.stated_count.clone()?, statement.entries.len().to_string()))
        });
        let stated = self.stated_count.clone().map(|n| (n, self.payments.len().to_string()));
        let counts: Vec<(String, String)> = counts.chain(stated).collect();
        let at = counts.iter().position(|(stated, found)| stated != found).unwrap_or(0);
        checks.extend(counts.into_iter().nth(at).map(|(expected, found)| Check {
            name: "transaction_count",
            expected,
            found,
        }));
        let (known, valid) = self.identifiers();
        if known > 0 {
            let (expected, found) = (known.to_string(), valid.to_string());
            checks.push(Check { name: "identifiers_valid", expected, found });
        }
        checks
    }

    /// Counts the IBANs and BICs of the message, and those of them that are well formed.
    fn identifiers(&self) -> (usize, usize) {
        let accounts = self.statements.iter().filter_map(|s| s.account.as_deref());
        let parties = self.payments.iter().flat_map(|p| [&p.debtor, &p.creditor]);
        let ibans: Vec<&str> = accounts
            .chain(parties.clone().filter_map(|party| party.account.as_deref()))
            .filter(|account| looks_like_iban(account))
            .collect();
        let bics: Vec<&str> = parties.filter_map(|party| party.bic.as_deref()).collect();
        let valid = ibans.iter().filter(|iban| id_validate::is_iban(iban)).count()
            + bics.iter().filter(|bic| is_bic(bic)).count();
        (ibans.len() + bics.len(), valid)
    }
}

impl Statement {
    /// Compares opening balance and entries with the closing balance, where both are there.
    fn closing(&self) -> Option<Check> {
        let of = |codes: [&str; 2]| {
            let mut found = self.balances.iter().filter(|b| codes.contains(&b.code.as_str()));
            found.next().cloned()
        };
        let (opening, closing) = (of(["OPBD", "PRCD"])?, of(["CLBD", "CLBD"])?);
        let moved: Decimal = self.entries.iter().map(|entry| entry.amount).sum();
        let found = opening.amount + moved;
        let scale = closing.amount.scale().max(found.scale());
        let say = |value: Decimal| money::round_to(value, scale).to_string();
        Some(Check {
            name: "entries_sum_to_closing",
            expected: say(closing.amount),
            found: say(found),
        })
    }
}

fn looks_like_iban(account: &str) -> bool {
    let bytes = account.as_bytes();
    bytes.len() >= 15
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
}

/// # Source
/// ISO 9362: four letters or digits of the party, two of the country, two of the place, three of
/// the branch where it has one.
fn is_bic(bic: &str) -> bool {
    let bytes = bic.as_bytes();
    matches!(bytes.len(), 8 | 11)
        && bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        && bytes[4..6].iter().all(u8::is_ascii_uppercase)
}
