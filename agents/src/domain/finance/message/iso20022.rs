//! ISO 20022 statements (camt.052, 053, 054) and customer credit transfers (pacs.008), by local
//! names, in any version that keeps them.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::xml::{self, Element};
use super::{Balance, Entry, Message, Party, Payment, Statement, amount, fault, some};
use crate::tool::ToolError;

/// Container of the message, its type and the element of one report.
const KINDS: [(&str, &str, &str); 4] = [
    ("BkToCstmrAcctRpt", "camt.052", "Rpt"),
    ("BkToCstmrStmt", "camt.053", "Stmt"),
    ("BkToCstmrDbtCdtNtfctn", "camt.054", "Ntfctn"),
    ("FIToFICstmrCdtTrf", "pacs.008", "CdtTrfTxInf"),
];

/// Deepest wrapper around the `Document`.
const MAX_WRAPPERS: usize = 4;

/// Reads a message; a header (`AppHdr`) or an envelope around the document is skipped.
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(text: &str) -> Result<Message, ToolError> {
    let root = xml::read(text)?;
    let (document, body) = find(&root, 0)
        .ok_or_else(|| fault("it is no camt.052, camt.053, camt.054 or pacs.008 message"))?;
    let Some((_, kind, unit)) = KINDS.iter().find(|(name, ..)| *name == &*body.name) else {
        return Err(fault("its type is unknown"));
    };
    let version = document.namespace.as_deref().and_then(|space| space.rsplit(':').next());
    let mut message = Message {
        kind,
        version: version.unwrap_or(kind).to_owned(),
        id: body.text(&["GrpHdr/MsgId"]),
        statements: Vec::new(),
        payments: Vec::new(),
        stated_sum: None,
        stated_count: None,
    };
    if *kind == "pacs.008" {
        let header = body.at("GrpHdr");
        let of_header = |path: &str| header.and_then(|header| header.text(&[path]));
        message.payments =
            body.all(unit).map(|one| payment(one, header)).collect::<Result<_, _>>()?;
        message.stated_count = of_header("NbOfTxs");
        let currency = message.payments.first().map_or("XXX", |payment| payment.currency.as_str());
        message.stated_sum = of_header("CtrlSum").map(|sum| amount(&sum, currency)).transpose()?;
    } else {
        message.statements = body.all(unit).map(statement).collect::<Result<_, _>>()?;
        if message.statements.is_empty() {
            return Err(fault(format!("it has no {unit} element")));
        }
        message.id = message.id.or_else(|| body.text(&[&format!("{unit}/Id")]));
    }
    Ok(message)
}

/// Finds the element that carries the business message, and its parent.
fn find(element: &Element, depth: usize) -> Option<(&Element, &Element)> {
    let body =
        element.children.iter().find(|child| KINDS.iter().any(|(name, ..)| *name == &*child.name));
    if let Some(body) = body {
        return Some((element, body));
    }
    let deeper = || element.children.iter().find_map(|child| find(child, depth + 1));
    (depth < MAX_WRAPPERS).then(deeper).flatten()
}

fn money(element: Option<&Element>, what: &str) -> Result<(Decimal, String), ToolError> {
    let element = element.ok_or_else(|| fault(format!("{what} has no amount")))?;
    let currency = element.currency.as_deref().unwrap_or_default().to_owned();
    Ok((amount(&element.text, &currency)?, currency))
}

fn signed(amount: Decimal, element: &Element, what: &str) -> Result<Decimal, ToolError> {
    match element.text(&["CdtDbtInd"]).as_deref() {
        Some("CRDT") => Ok(amount),
        Some("DBIT") => Ok(-amount),
        _ => Err(fault(format!("{what} is neither credit (CRDT) nor debit (DBIT)"))),
    }
}

/// Reads a date or the date of a date-time.
fn date(element: &Element, paths: &[&str]) -> Result<Option<Date>, ToolError> {
    let Some(text) = element.text(paths) else { return Ok(None) };
    let day = text.get(..10).and_then(|day| day.parse().ok());
    day.map(Some).ok_or_else(|| fault(format!("`{text}` is no date")))
}

fn statement(element: &Element) -> Result<Statement, ToolError> {
    let balances = element.all("Bal").map(balance).collect::<Result<_, _>>()?;
    let entries = element
        .all("Ntry")
        .enumerate()
        .map(|(i, entry)| self::entry(entry, i + 1))
        .collect::<Result<Vec<_>, _>>()?;
    let currency = entries.first().map_or("XXX", |entry: &Entry| entry.currency.as_str());
    let sum = element.text(&["TxsSummry/TtlNtries/Sum"]);
    Ok(Statement {
        account: element.text(&["Acct/Id/IBAN", "Acct/Id/Othr/Id"]),
        stated_count: element.text(&["TxsSummry/TtlNtries/NbOfNtries"]),
        stated_sum: sum.map(|sum| amount(&sum, currency)).transpose()?,
        balances,
        entries,
    })
}

fn balance(element: &Element) -> Result<Balance, ToolError> {
    let code = element.text(&["Tp/CdOrPrtry/Cd", "Tp/CdOrPrtry/Prtry"]);
    let (amount, currency) = money(element.at("Amt"), "a balance")?;
    Ok(Balance {
        code: code.ok_or_else(|| fault("a balance has no type"))?,
        amount: signed(amount, element, "a balance")?,
        currency,
        date: date(element, &["Dt/Dt", "Dt/DtTm"])?
            .ok_or_else(|| fault("a balance has no date"))?,
    })
}

fn entry(element: &Element, position: usize) -> Result<Entry, ToolError> {
    let what = format!("entry {position}");
    let (amount, currency) = money(element.at("Amt"), &what)?;
    let amount = signed(amount, element, &what)?;
    let day = date(element, &["ValDt/Dt", "ValDt/DtTm", "BookgDt/Dt", "BookgDt/DtTm"])?;
    let details: Vec<&Element> =
        element.all("NtryDtls").flat_map(|details| details.all("TxDtls")).collect();
    // The other party of a credit is who paid it, of a debit who got it.
    let party = if amount.is_sign_negative() {
        ["RltdPties/Cdtr/Nm", "RltdPties/Cdtr/Pty/Nm"]
    } else {
        ["RltdPties/Dbtr/Nm", "RltdPties/Dbtr/Pty/Nm"]
    };
    let id = element.text(&["NtryRef", "AcctSvcrRef"]);
    Ok(Entry {
        id: id.unwrap_or_else(|| position.to_string()),
        amount,
        currency,
        value_date: day.ok_or_else(|| fault(format!("{what} has no date")))?,
        reference: details.iter().find_map(|one| reference(one)),
        text: joined(details.iter().filter_map(|one| remittance(one)))
            .or_else(|| element.text(&["AddtlNtryInf"])),
        party: details.iter().find_map(|one| one.text(&party)),
    })
}

/// Returns the reference that the payer gave; a bank fills the field with `NOTPROVIDED`.
fn reference(element: &Element) -> Option<String> {
    let given = element.text(&["Refs/EndToEndId"]).filter(|id| id != "NOTPROVIDED");
    given.or_else(|| element.text(&["Refs/InstrId", "Refs/TxId"]))
}

fn remittance(element: &Element) -> Option<String> {
    let info = element.at("RmtInf")?;
    let free = info.all("Ustrd").filter_map(|text| some(&text.text));
    let structured =
        info.all("Strd").filter_map(|one| one.text(&["CdtrRefInf/Ref", "RfrdDocInf/Nb"]));
    joined(free.chain(structured))
}

fn joined(parts: impl Iterator<Item = String>) -> Option<String> {
    some(&parts.collect::<Vec<_>>().join(" "))
}

fn payment(element: &Element, header: Option<&Element>) -> Result<Payment, ToolError> {
    let (amount, currency) = money(element.at("IntrBkSttlmAmt"), "a payment")?;
    let own = date(element, &["IntrBkSttlmDt"])?;
    let common = header.map(|header| date(header, &["IntrBkSttlmDt"])).transpose()?.flatten();
    let party = |role: &str| Party {
        name: element.text(&[&format!("{role}/Nm"), &format!("{role}/Pty/Nm")]),
        account: element.text(&[&format!("{role}Acct/Id/IBAN"), &format!("{role}Acct/Id/Othr/Id")]),
        bic: element
            .text(&[&format!("{role}Agt/FinInstnId/BICFI"), &format!("{role}Agt/FinInstnId/BIC")]),
    };
    let charges = element.text(&["ChrgBr"]);
    Ok(Payment {
        id: element.text(&["PmtId/TxId", "PmtId/InstrId"]),
        end_to_end_id: element.text(&["PmtId/EndToEndId"]),
        amount,
        currency,
        value_date: own.or(common),
        debtor: party("Dbtr"),
        creditor: party("Cdtr"),
        charges: charges.filter(|code| matches!(code.as_str(), "DEBT" | "CRED" | "SHAR" | "SLEV")),
        remittance: remittance(element),
    })
}
