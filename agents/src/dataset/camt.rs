//! The entries of an ISO 20022 bank statement as a table.
//!
//! As for Green Button files, events are pulled, a document type is refused and entities other than
//! XML's own five are never expanded.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::source::{Each, hand_out};
use super::{DatasetError, MAX_CELL, unreadable};

/// Deepest nesting; statements stay below twenty.
const MAX_DEPTH: usize = 64;
/// Columns of the table: `id`, `date`, `amount`, `reference` and `name` as reconciliation reads them.
const NAMES: [&str; 12] = [
    "id",
    "date",
    "value_date",
    "amount",
    "currency",
    "credit_debit",
    "status",
    "reference",
    "name",
    "remittance",
    "account",
    "statement",
];

#[derive(Default)]
struct Entry {
    fields: [String; NAMES.len()],
    debtor: String,
    creditor: String,
    reversal: bool,
}

#[derive(Default)]
struct Parser {
    path: Vec<String>,
    text: String,
    currency: String,
    account: String,
    statement: String,
    entry: Entry,
    entries: Vec<[Cow<'static, str>; NAMES.len()]>,
    nested: bool,
}

fn fault(why: impl std::fmt::Display) -> DatasetError {
    unreadable("the bank statement", why)
}

fn once(slot: &mut String, text: &str) {
    if slot.is_empty() {
        text.clone_into(slot);
    }
}

impl Parser {
    fn open(&mut self, name: &str) -> Result<(), DatasetError> {
        if self.path.len() >= MAX_DEPTH {
            return Err(fault("it is nested too deeply"));
        }
        match name {
            "Ntry" => {
                self.entry = Entry::default();
                self.nested = true;
            }
            "Stmt" => (self.account, self.statement) = (String::new(), String::new()),
            _ => {}
        }
        self.path.push(name.to_owned());
        self.text.clear();
        Ok(())
    }

    fn push(&mut self, text: &str) {
        if self.text.len() + text.len() <= MAX_CELL {
            self.text.push_str(text);
        }
    }

    fn close(&mut self) -> Result<(), DatasetError> {
        let name = self.path.pop().ok_or_else(|| fault("a closing tag is alone"))?;
        let text = std::mem::take(&mut self.text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let up = |back: usize| {
            self.path.len().checked_sub(back).and_then(|at| self.path.get(at)).map_or("", |n| n)
        };
        let (parent, above, third) = (up(1), up(2), up(3));
        if !self.nested {
            match (above, parent, name.as_str()) {
                (_, "Stmt", "Id") => self.statement = text,
                ("Acct", "Id", "IBAN") if third == "Stmt" => self.account = text,
                ("Id", "Othr", "Id") if third == "Acct" => once(&mut self.account, &text),
                _ => {}
            }
            return Ok(());
        }
        let [id, date, value_date, amount, currency, sign, status, reference, _, note, ..] =
            &mut self.entry.fields;
        match (above, parent, name.as_str()) {
            (_, "Ntry", "NtryRef") => *id = text,
            (_, "Ntry", "AcctSvcrRef") => once(id, &text),
            (_, "Ntry", "Amt") => {
                *amount = text;
                currency.clone_from(&self.currency);
            }
            (_, "Ntry", "CdtDbtInd") => *sign = text,
            (_, "Ntry", "RvslInd") => self.entry.reversal = text == "true" || text == "1",
            (_, "Ntry", "Sts") | ("Ntry", "Sts", "Cd") if !text.is_empty() => *status = text,
            ("Ntry", "BookgDt", "Dt" | "DtTm") => *date = text.chars().take(10).collect(),
            ("Ntry", "ValDt", "Dt" | "DtTm") => *value_date = text.chars().take(10).collect(),
            (_, "Refs", "EndToEndId") if text != "NOTPROVIDED" => once(reference, &text),
            (_, "CdtrRefInf", "Ref") => once(reference, &text),
            (_, "RmtInf", "Ustrd") => {
                if !note.is_empty() {
                    note.push(' ');
                }
                note.push_str(&text);
            }
            (_, "Dbtr", "Nm") | ("Dbtr", "Pty", "Nm") => once(&mut self.entry.debtor, &text),
            (_, "Cdtr", "Nm") | ("Cdtr", "Pty", "Nm") => once(&mut self.entry.creditor, &text),
            (_, "Ntry", "AddtlNtryInf") => once(note, &text),
            (_, _, "Ntry") => self.finish(),
            _ => {}
        }
        Ok(())
    }

    /// Signs the amount as the account sees it and names the other party.
    fn finish(&mut self) {
        let Entry { mut fields, debtor, creditor, reversal } = std::mem::take(&mut self.entry);
        let debit = fields[5] == "DBIT";
        if debit && !fields[3].is_empty() {
            fields[3].insert(0, '-');
        }
        // A reversal takes the parties of the entry that it undoes.
        fields[8] = if debit != reversal { creditor } else { debtor };
        if fields[7].is_empty() {
            fields[7] = fields[9].clone();
        }
        fields[10].clone_from(&self.account);
        fields[11].clone_from(&self.statement);
        self.entries.push(fields.map(Cow::Owned));
        self.nested = false;
    }
}

/// See [`super::source::walk`].
///
/// # Source
/// ISO 20022, `camt.053.001`: `BkToCstmrStmt/Stmt/Ntry`.
pub(super) fn walk(bytes: &[u8], each: &mut Each<'_>) -> Result<Vec<String>, DatasetError> {
    let mut reader = Reader::from_reader(bytes);
    let mut parser = Parser::default();
    loop {
        match reader.read_event().map_err(fault)? {
            Event::Start(tag) => {
                let name = tag.local_name();
                if let Some(currency) = tag.attributes().flatten().find(|a| a.key.as_ref() == "Ccy")
                {
                    parser.currency = currency.value.chars().take(3).collect();
                }
                parser.open(name.as_ref())?;
            }
            Event::End(_) => parser.close()?,
            Event::Text(text) => parser.push(&text),
            Event::CData(text) => parser.push(&text),
            Event::GeneralRef(entity) => parser.push(predefined(&entity)?),
            Event::DocType(_) => return Err(fault("document types are not accepted")),
            Event::Eof => break,
            _ => {}
        }
    }
    let total = parser.entries.len();
    hand_out(NAMES, parser.entries.into_iter(), total, each)
}

fn predefined(name: &str) -> Result<&'static str, DatasetError> {
    match name {
        "amp" => Ok("&"),
        "lt" => Ok("<"),
        "gt" => Ok(">"),
        "quot" => Ok("\""),
        "apos" => Ok("'"),
        // A character by its number stands for a space: names of parties need none.
        _ if name.starts_with('#') => Ok(" "),
        _ => Err(fault(format!("the entity `{name}` is not one of XML's own"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<Vec<String>>, DatasetError> {
        let mut rows = Vec::new();
        walk(text.as_bytes(), &mut |record| {
            rows.push((0..record.cells.len()).map(|at| record.cells.get(at).to_owned()).collect());
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    #[test]
    fn an_entry_has_its_sign_its_party_and_its_reference() {
        let text = "<Document><BkToCstmrStmt><Stmt><Id>S1</Id><Acct><Id><IBAN>DE1</IBAN></Id></Acct>\
            <Ntry><NtryRef>1</NtryRef><Amt Ccy=\"EUR\">12.50</Amt><CdtDbtInd>DBIT</CdtDbtInd>\
            <Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-03-02</Dt></BookgDt><NtryDtls><TxDtls><Refs>\
            <EndToEndId>INV-7</EndToEndId></Refs><RltdPties><Dbtr><Nm>Us</Nm></Dbtr><Cdtr><Nm>A &amp; B\
            </Nm></Cdtr></RltdPties><RmtInf><Ustrd>for March</Ustrd></RmtInf></TxDtls></NtryDtls>\
            </Ntry></Stmt></BkToCstmrStmt></Document>";
        let rows = rows(text).unwrap();
        assert_eq!(
            rows,
            [[
                "1",
                "2026-03-02",
                "",
                "-12.50",
                "EUR",
                "DBIT",
                "BOOK",
                "INV-7",
                "A & B",
                "for March",
                "DE1",
                "S1"
            ]]
        );
    }

    #[test]
    fn a_document_type_and_a_foreign_entity_are_refused() {
        for text in ["<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "<Ntry>&b;</Ntry>"] {
            assert_eq!(rows(text).unwrap_err().code(), "unreadable_file");
        }
    }
}
