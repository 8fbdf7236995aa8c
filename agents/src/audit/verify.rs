//! Checks an export line by line and names the first link that does not hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ERASED, Entry, EventLine, FORMAT, GENESIS, Line, RUN_ENDED, json_sha256};

/// The first link that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Line of the file, from 1.
    pub line: usize,
    /// Which link, and what is wrong with it.
    pub message: String,
}

/// What an export that holds consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Name of the joint venture.
    pub name: String,
    /// Entries of its chain.
    pub entries: u64,
    /// Events of its runs.
    pub events: u64,
    /// Runs whose journal is closed by an entry.
    pub closed: u64,
    /// Runs that had not ended when the export was made; their last events are not held by an entry.
    pub open: u64,
    /// Events from before there was a chain, which nothing holds.
    pub unchained: u64,
    /// Payloads that were erased; their hashes hold.
    pub erased: u64,
    /// Hash of the last entry: who noted it down earlier can tell whether the end was cut off.
    pub head: String,
}

#[derive(Default)]
struct Journal {
    seq: i64,
    head: String,
    unchained: bool,
}

/// Reads an export.
#[derive(Default)]
pub struct Verifier {
    line: usize,
    tenant: Option<String>,
    seen: Verified,
    seq: i64,
    ended: BTreeMap<String, (i64, String)>,
    erased: BTreeSet<String>,
    journals: BTreeMap<String, Journal>,
    done: bool,
}

impl Verifier {
    /// Starts before the first line.
    pub fn new() -> Self {
        let seen = Verified { head: GENESIS.to_owned(), ..Verified::default() };
        Self { seen, ..Self::default() }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// The link that does not hold.
    pub fn read(&mut self, text: &str) -> Result<(), Broken> {
        self.line += 1;
        self.check(text).map_err(|message| Broken { line: self.line, message })
    }

    fn check(&mut self, text: &str) -> Result<(), String> {
        let line: Line = serde_json::from_str(text)
            .map_err(|error| format!("this is no line of an export: {error}"))?;
        if self.done {
            return Err("the export goes on after its end".to_owned());
        }
        match (line, self.tenant.clone()) {
            (Line::Export { format, tenant, name, .. }, None) => {
                if format != FORMAT {
                    return Err(format!("the format is {format}; this program reads {FORMAT}"));
                }
                (self.tenant, self.seen.name) = (Some(tenant), name);
                Ok(())
            }
            (Line::Export { .. }, Some(_)) => Err("a second head of an export".to_owned()),
            (_, None) => Err("the head of the export is missing".to_owned()),
            (Line::Entry(entry), Some(tenant)) => self.entry(&entry, &tenant),
            (Line::Event(event), Some(_)) => self.event(&event),
            (Line::End { entries, events, head }, Some(_)) => {
                self.done = true;
                if (entries, events, &head)
                    == (self.seen.entries, self.seen.events, &self.seen.head)
                {
                    return Ok(());
                }
                Err(format!(
                    "the end speaks of {entries} entries, {events} events and the head {head}; found are {}, {} and {}",
                    self.seen.entries, self.seen.events, self.seen.head
                ))
            }
        }
    }

    fn entry(&mut self, entry: &Entry, tenant: &str) -> Result<(), String> {
        let named = format!("entry {} ({})", entry.seq, entry.kind);
        if entry.seq != self.seq + 1 {
            return Err(format!(
                "{named} follows entry {}: entries are missing or moved",
                self.seq
            ));
        }
        if entry.prev_sha256 != self.seen.head {
            return Err(format!("{named} does not follow the entry before it"));
        }
        if entry.sha256 != entry.expected(tenant) {
            return Err(format!("{named} was changed: its hash is not that of what it says"));
        }
        if let Some(run) = &entry.run {
            match entry.kind.as_str() {
                RUN_ENDED => {
                    let events = entry.detail["events"].as_i64().unwrap_or_default();
                    let head = entry.detail["journal_sha256"].as_str().unwrap_or_default();
                    self.ended.insert(run.clone(), (events, head.to_owned()));
                }
                ERASED => {
                    self.erased.insert(run.clone());
                }
                _ => {}
            }
        }
        self.seq = entry.seq;
        self.seen.head.clone_from(&entry.sha256);
        self.seen.entries += 1;
        Ok(())
    }

    fn event(&mut self, event: &EventLine) -> Result<(), String> {
        let named = format!("event {} ({}) of run {}", event.seq, event.kind, event.run);
        let journal = self
            .journals
            .entry(event.run.clone())
            .or_insert_with(|| Journal { head: GENESIS.to_owned(), ..Journal::default() });
        if event.seq != journal.seq + 1 {
            return Err(format!(
                "{named} follows event {}: events are missing or moved",
                journal.seq
            ));
        }
        journal.seq = event.seq;
        self.seen.events += 1;
        if event.sha256.is_empty() {
            // A chain that has begun does not stop.
            if journal.head != GENESIS {
                return Err(format!("{named} carries no hash though the event before it does"));
            }
            journal.unchained = true;
            self.seen.unchained += 1;
            return Ok(());
        }
        if event.payload == Value::Null {
            if !self.erased.contains(&event.run) {
                return Err(format!(
                    "{named} has no payload, and no entry says that it was erased"
                ));
            }
            self.seen.erased += 1;
        } else if event.payload_sha256 != json_sha256(&event.payload) {
            return Err(format!("{named} was changed: its hash is not that of its payload"));
        }
        if event.sha256 != event.expected(&journal.head) {
            return Err(format!("{named} does not follow the event before it"));
        }
        journal.head.clone_from(&event.sha256);
        if let Some((events, head)) = self.ended.get(&event.run)
            && event.seq == *events
            && *head != event.sha256
        {
            return Err(format!("{named} is not the one with which the run ended"));
        }
        Ok(())
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// The export is cut off, or a closed journal lacks events or has too many.
    pub fn finish(mut self) -> Result<Verified, Broken> {
        let broken = |message: String| Err(Broken { line: self.line, message });
        if !self.done {
            return broken("the end of the export is missing: it was cut off".to_owned());
        }
        for (run, (events, _)) in &self.ended {
            let found = self.journals.get(run).map_or(0, |journal| journal.seq);
            if found != *events {
                return broken(format!("run {run} ended with {events} events; found are {found}"));
            }
        }
        self.seen.closed = self.ended.len() as u64;
        let open = |run: &&String| !self.ended.contains_key(*run);
        self.seen.open = self.journals.keys().filter(open).count() as u64;
        Ok(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "t";

    fn entry(seq: i64, kind: &str, run: Option<&str>, detail: Value, prev: &str) -> Entry {
        let mut entry = Entry {
            seq,
            kind: kind.to_owned(),
            run: run.map(str::to_owned),
            actor: "key:1".to_owned(),
            subject: "ann".to_owned(),
            detail,
            micros: 1_000 + seq,
            prev_sha256: prev.to_owned(),
            sha256: String::new(),
        };
        entry.sha256 = entry.expected(TENANT);
        entry
    }

    fn events(run: &str) -> Vec<EventLine> {
        let mut prev = GENESIS.to_owned();
        let payloads = [json!({"request": "a"}), json!({"plan": 1.5}), json!({"text": "b"})];
        let numbered = payloads.into_iter().zip(1..);
        numbered
            .map(|(payload, seq)| {
                let mut event = EventLine {
                    run: run.to_owned(),
                    seq,
                    kind: "run.created".to_owned(),
                    micros: seq,
                    payload_sha256: json_sha256(&payload),
                    payload,
                    sha256: String::new(),
                };
                event.sha256 = event.expected(&prev);
                prev.clone_from(&event.sha256);
                event
            })
            .collect()
    }

    fn export() -> Vec<Line> {
        let events = events("r");
        let head = events[2].sha256.clone();
        let one = entry(1, "approval.decided", None, json!({"approved": true}), GENESIS);
        let ended = json!({"events": 3, "journal_sha256": head});
        let two = entry(2, RUN_ENDED, Some("r"), ended, &one.sha256);
        let head = two.sha256.clone();
        let mut lines = vec![Line::Export {
            format: FORMAT,
            tenant: TENANT.to_owned(),
            name: "harbour".to_owned(),
            at: String::new(),
        }];
        lines.extend([Line::Entry(one), Line::Entry(two)]);
        lines.extend(events.into_iter().map(Line::Event));
        lines.push(Line::End { entries: 2, events: 3, head });
        lines
    }

    fn verify(lines: &[Line]) -> Result<Verified, Broken> {
        let mut verifier = Verifier::new();
        for line in lines {
            verifier.read(&serde_json::to_string(line).unwrap())?;
        }
        verifier.finish()
    }

    fn broken(change: impl FnOnce(&mut Vec<Line>)) -> Broken {
        let mut lines = export();
        change(&mut lines);
        verify(&lines).unwrap_err()
    }

    #[test]
    fn an_untouched_export_holds() {
        let verified = verify(&export()).unwrap();
        assert_eq!((verified.entries, verified.events, verified.closed), (2, 3, 1));
        assert_eq!((verified.open, verified.erased, verified.unchained), (0, 0, 0));
    }

    #[test]
    fn the_first_link_that_was_touched_is_named() {
        let changed = broken(|lines| {
            let Line::Event(event) = &mut lines[4] else { panic!() };
            event.payload = json!({"plan": 2});
        });
        assert_eq!(changed.line, 5);
        assert!(changed.message.starts_with("event 2 (run.created) of run r was changed"));
        let decided = broken(|lines| {
            let Line::Entry(entry) = &mut lines[1] else { panic!() };
            entry.detail = json!({"approved": false});
        });
        assert!(decided.message.starts_with("entry 1 (approval.decided) was changed"));
        let rehashed = broken(|lines| {
            let Line::Entry(entry) = &mut lines[1] else { panic!() };
            entry.subject = "eve".to_owned();
            entry.sha256 = entry.expected(TENANT);
        });
        assert!(
            rehashed.message.starts_with("entry 2 (run.ended) does not follow"),
            "{rehashed:?}"
        );
        let missing = broken(|lines| drop(lines.remove(3)));
        assert!(missing.message.starts_with("event 2"), "{missing:?}");
        let cut = broken(|lines| drop(lines.remove(5)));
        assert!(cut.message.contains("the end speaks of"), "{cut:?}");
        let short = broken(|lines| {
            lines.remove(5);
            let Some(Line::End { events, .. }) = lines.last_mut() else { panic!() };
            *events = 2;
        });
        assert!(short.message.contains("ended with 3 events; found are 2"), "{short:?}");
        let swapped = broken(|lines| lines.swap(1, 2));
        assert!(swapped.message.contains("missing or moved"));
        assert!(broken(|lines| drop(lines.pop())).message.contains("cut off"));
        assert!(broken(|lines| drop(lines.remove(0))).message.contains("head of the export"));
        let other = broken(|lines| {
            let Line::Export { tenant, .. } = &mut lines[0] else { panic!() };
            *tenant = "u".to_owned();
        });
        assert!(other.message.starts_with("entry 1"), "another joint venture's chain");
    }

    #[test]
    fn a_payload_may_be_gone_only_where_an_entry_says_that_it_was_erased() {
        let gone = broken(|lines| {
            let Line::Event(event) = &mut lines[3] else { panic!() };
            event.payload = Value::Null;
        });
        assert!(gone.message.contains("no entry says that it was erased"));
        let mut lines = export();
        let Line::Entry(last) = &lines[2] else { panic!() };
        let erased = entry(3, ERASED, Some("r"), json!({}), &last.sha256);
        let head = erased.sha256.clone();
        lines.insert(3, Line::Entry(erased));
        let Line::Event(event) = &mut lines[4] else { panic!() };
        event.payload = Value::Null;
        *lines.last_mut().unwrap() = Line::End { entries: 3, events: 3, head };
        assert_eq!(verify(&lines).unwrap().erased, 1);
    }
}
