//! Whole files through inference and import.

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Kept {
    rows: Vec<Row>,
    rejects: Vec<Reject>,
    spans: Vec<Span>,
}

impl Sink for Kept {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), DatasetError> {
        let rows = decode(&chunk.body).unwrap();
        assert_eq!(rows.len(), chunk.rows as usize);
        self.rows.extend(rows);
        self.spans.push(chunk.span);
        Ok(())
    }

    fn reject(&mut self, reject: Reject) -> Result<(), DatasetError> {
        self.rejects.push(reject);
        Ok(())
    }
}

fn read(text: &str, wish: &str, zone: &str) -> Result<(Mapping, Report, Kept), DatasetError> {
    let wish = serde_json::from_str(wish).unwrap();
    let mapping = infer(text.as_bytes(), "table.csv", &wish, zone)?.mapping;
    let mut kept = Kept::default();
    let report = import(text.as_bytes(), &mapping, &mut kept)?;
    Ok((mapping, report, kept))
}

fn cells(kept: &Kept) -> Vec<Vec<&str>> {
    kept.rows.iter().map(|row| row.cells.iter().map(String::as_str).collect()).collect()
}

#[test]
fn a_meter_export_becomes_the_table_that_interval_tools_read() {
    let text =
        "Date/Time;Meter ID;Usage (Wh)\n01.02.2026 00:00;M-1;1.250,5\n01.02.2026 00:15;M-1;980\n";
    let (mapping, report, kept) = read(text, "{}", "Asia/Taipei").unwrap();
    assert_eq!(
        (mapping.time.as_deref(), mapping.site.as_deref()),
        (Some("start"), Some("site_id"))
    );
    assert_eq!(mapping.decimal, Some(DecimalMark::Comma));
    assert_eq!(
        cells(&kept),
        [
            ["2026-02-01T00:00:00+08:00", "M-1", "1.2505"],
            ["2026-02-01T00:15:00+08:00", "M-1", "0.98"]
        ]
    );
    let names: Vec<_> =
        report.columns.iter().map(|c| (c.name.as_str(), c.unit.as_deref())).collect();
    assert_eq!(names, [("start", None), ("site_id", None), ("energy_kwh", Some("kWh"))]);
}

#[test]
fn cents_leading_zeros_and_identifiers_are_kept_as_written() {
    let text = "invoice_id,postcode,amount,paid,day\n100,00120,820.00,true,2026-03-05\n101,01234,-5.10,False,2026-03-06\n";
    let (mapping, _, kept) = read(text, "{}", "UTC").unwrap();
    let kinds: Vec<Kind> = mapping.columns.iter().map(|column| column.kind.unwrap()).collect();
    assert_eq!(kinds, [Kind::Text, Kind::Text, Kind::Decimal, Kind::Boolean, Kind::Date]);
    assert_eq!(cells(&kept)[0], ["100", "00120", "820.00", "true", "2026-03-05"]);
    assert_eq!(cells(&kept)[1][3], "false");
}

#[test]
fn each_refused_line_says_where_what_why_and_what_would_be_right() {
    let text = "start,load_kw\n2026-01-01T00:00:00Z,1\n\nsoon,2\n2026-01-01T00:30:00Z,many\n,4\n2026-01-01T01:00:00Z,5,6\n";
    let wish = r#"{"columns": [{"source": "start", "type": "time"}, {"source": "load_kw", "type": "decimal"}], "time": "start"}"#;
    let (_, report, kept) = read(text, wish, "UTC").unwrap();
    assert_eq!((report.rows, report.refused, report.faults), (1, 4, 4));
    let found: Vec<_> = kept
        .rejects
        .iter()
        .map(|reject| (reject.line, reject.column.as_str(), reject.value.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (4, "start", "soon"),
            (5, "load_kw", "many"),
            (6, "start", ""),
            (7, "", "2026-01-01T01:00:00Z | 5 | 6")
        ]
    );
    assert!(kept.rejects.iter().all(|reject| !reject.reason.is_empty() && !reject.fix.is_empty()));
}

#[test]
fn the_repeated_hour_is_told_apart_for_each_site_and_the_skipped_one_is_refused() {
    let mut text = "start,site_id,load_kw\n".to_owned();
    for time in ["01:30", "02:30", "02:30", "03:30"] {
        for site in ["a", "b"] {
            text.push_str(&format!("2026-10-25 {time},{site},1\n"));
        }
    }
    text.push_str("2027-03-28 02:30,a,1\n");
    let (_, report, kept) = read(&text, "{}", "Europe/Berlin").unwrap();
    assert_eq!((report.rows, report.refused, report.sites), (8, 1, 2));
    let times: Vec<&str> = cells(&kept).iter().take(4).map(|row| row[0]).collect();
    assert_eq!(
        times,
        [
            "2026-10-25T01:30:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:30:00+01:00"
        ]
    );
    assert!(report.notes.iter().any(|note| note.code == "repeated_hour"), "{:?}", report.notes);
    assert!(kept.rejects[0].reason.contains("skipped"), "{:?}", kept.rejects);
}

#[test]
fn rows_lie_by_site_and_each_chunk_says_what_it_holds() {
    let mut text = "start,site_id,load_kw\n".to_owned();
    for step in 0..3000 {
        for site in ["b", "a"] {
            let (hour, day) = (step % 24, step / 24 % 28 + 1);
            text.push_str(&format!(
                "2026-{:02}-{day:02}T{hour:02}:00:00Z,{site},{step}\n",
                step / 672 + 1
            ));
        }
    }
    let (_, report, kept) = read(&text, "{}", "UTC").unwrap();
    assert_eq!((report.rows, kept.spans.len()), (6000, 2));
    let sites: Vec<_> = kept.spans.iter().map(|span| span.sites.clone().unwrap()).collect();
    assert_eq!(sites, [("a".into(), "a".into()), ("b".into(), "b".into())]);
    assert_eq!(kept.spans[0].times, report.times);
}

#[test]
fn a_mapping_that_does_not_fit_names_its_place() {
    let text = "start,load_kw\n2026-01-01T00:00:00Z,1\n";
    for (wish, pointer) in [
        (r#"{"columns": [{"source": "power"}]}"#, "/columns/0/source"),
        (r#"{"columns": [{"source": "load_kw", "name": "start"}]}"#, "/columns/1/name"),
        (r#"{"columns": [{"source": "load_kw", "to": "kWh"}]}"#, "/columns/1/to"),
        (r#"{"timezone": "Mars/Base"}"#, "/timezone"),
        (r#"{"time": "load_kw"}"#, "/time"),
        (r#"{"site": "plant"}"#, "/site"),
        (r#"{"delimiter": "x"}"#, "/delimiter"),
    ] {
        match read(text, wish, "UTC") {
            Err(DatasetError::Mapping { pointer: found, .. }) => {
                assert_eq!(found, pointer, "{wish}");
            }
            other => panic!("{wish}: {:?}", other.map(|(mapping, ..)| mapping)),
        }
    }
}

#[test]
fn an_empty_file_a_header_alone_and_a_table_of_faults_are_no_table() {
    for text in ["", "start,load_kw\n", "start,load_kw\nsoon,1\nlater,2\n"] {
        let wish = r#"{"columns": []}"#;
        let forced = r#"{"columns": [{"source": "start", "type": "time"}], "time": "start"}"#;
        let error =
            read(text, if text.contains("soon") { forced } else { wish }, "UTC").err().unwrap();
        assert_eq!(error.code(), "empty_file", "{text:?}: {error}");
    }
}

#[test]
fn the_shipped_files_of_every_format_become_tables() {
    for (file, format, rows) in [
        ("energy/fixtures/test_usage_data_01.xml", Format::GreenButton, 96),
        ("energy/fixtures/energy_load_hourly.csv", Format::Csv, 504),
        ("energy/fixtures/pvwatts_8760_rackmount.csv", Format::Csv, 8760),
        ("finance/fixtures/lpa_facts.json", Format::CompanyFacts, 768),
        ("finance/fixtures/camt.053.001.07.xml", Format::Camt053, 0),
        ("automotive/fixtures/test.dbc", Format::Dbc, 18),
        ("energy/fixtures/event.json", Format::File, 0),
    ] {
        let path = format!("{}/packs/{file}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let mapping = infer(&bytes, file, &Mapping::default(), "UTC").unwrap().mapping;
        let report = import(&bytes, &mapping, &mut Kept::default()).unwrap();
        assert_eq!((mapping.format, report.rows), (Some(format), rows), "{file}");
        let told = report.notes.iter().any(|note| note.code == "no_rows");
        assert_eq!(told, rows == 0 && format != Format::File, "{file}");
    }
}

/// Packs parts into a workbook.
fn book(sheet: &str) -> Vec<u8> {
    padded_book(sheet, "", 0)
}

/// As [`book`], with a padding repeated before the sheet.
fn padded_book(sheet: &str, padding: &str, times: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        (
            "[Content_Types].xml",
            "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"xml\" ContentType=\"application/xml\"/><Override PartName=\"/xl/workbook.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/><Override PartName=\"/xl/worksheets/sheet1.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml\"/></Types>",
        ),
        (
            "_rels/.rels",
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>",
        ),
        (
            "xl/workbook.xml",
            "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"Load\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>",
        ),
        (
            "xl/_rels/workbook.xml.rels",
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
        ),
        ("xl/worksheets/sheet1.xml", sheet),
    ] {
        zip.start_file(name, options).unwrap();
        for _ in 0..if text == sheet { times } else { 0 } {
            zip.write_all(padding.as_bytes()).unwrap();
        }
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn sheet(rows: &str) -> String {
    format!(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>{rows}</sheetData></worksheet>"
    )
}

fn text_cell(at: &str, text: &str) -> String {
    format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

#[test]
fn a_workbook_is_read_from_the_line_of_its_header() {
    let rows = format!(
        "<row r=\"1\">{}</row><row r=\"3\">{}{}</row><row r=\"4\">{}<c r=\"B4\"><v>12.5</v></c></row>",
        text_cell("A1", "Plant 2"),
        text_cell("A3", "start"),
        text_cell("B3", "Load [kW]"),
        text_cell("A4", "2026-01-01 00:15"),
    );
    let bytes = book(&sheet(&rows));
    let mapping = infer(&bytes, "a.xlsx", &Mapping::default(), "UTC").unwrap().mapping;
    assert_eq!((mapping.format, mapping.header_line), (Some(Format::Xlsx), Some(3)));
    let mut kept = Kept::default();
    import(&bytes, &mapping, &mut kept).unwrap();
    assert_eq!(cells(&kept), [["2026-01-01T00:15:00Z", "12.5"]]);
    assert_eq!(kept.rows[0].line, 4);
}

#[test]
fn a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_read() {
    let rows = "<row/>".repeat(100);
    let bytes = book(&sheet(&rows));
    assert!(infer(&bytes, "a.xlsx", &Mapping::default(), "UTC").is_err(), "it has no header");
    // Six hundred megabytes of blanks pack to less than one.
    let bomb = padded_book("<worksheet/>", &" ".repeat(1 << 20), 600);
    assert!(bomb.len() < 1 << 20);
    let error = infer(&bomb, "a.xlsx", &Mapping::default(), "UTC").unwrap_err();
    assert_eq!(error.code(), "file_too_large", "{error}");
}

#[test]
fn a_cell_far_out_costs_no_memory() {
    let rows = format!("<row r=\"1048576\">{}</row>", text_cell("XFD1048576", "far"));
    let error = infer(&book(&sheet(&rows)), "a.xlsx", &Mapping::default(), "UTC").unwrap_err();
    assert_eq!(error.code(), "file_too_large", "{error}");
}

fn try_all(bytes: &[u8]) {
    for format in Format::ALL {
        let wish = Mapping { format: Some(format), ..Mapping::default() };
        if let Ok(found) = infer(bytes, "x", &wish, "America/New_York") {
            drop(import(bytes, &found.mapping, &mut Kept::default()));
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        try_all(&bytes);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[a-z0-9,;\\t\\n\"'<>/&#{}:. \\-+()%年月日時é]{0,300}") {
        try_all(text.as_bytes());
    }

    #[test]
    fn damaged_files_make_no_reader_panic(at in 0_usize..4000, byte in any::<u8>()) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/packs/");
        for file in ["finance/fixtures/camt.053.001.07.xml", "automotive/fixtures/test.dbc", "energy/fixtures/energy_load_hourly.csv"] {
            let mut bytes = std::fs::read(format!("{folder}{file}")).unwrap();
            bytes.truncate(3000);
            let at = at % bytes.len();
            bytes[at] = byte;
            let found = infer(&bytes, file, &Mapping::default(), "UTC");
            if let Ok(found) = found {
                drop(import(&bytes, &found.mapping, &mut Kept::default()));
            }
        }
    }

    #[test]
    fn a_written_table_is_read_back(values in prop::collection::vec((0_i64..100_000, 0_u32..3), 1..50)) {
        let mut text = "start,site_id,load_kw\n".to_owned();
        let mut expected = Vec::new();
        for (step, (mantissa, scale)) in values.iter().enumerate() {
            let at = jiff::Timestamp::from_second(1_700_000_000 + step as i64 * 900).unwrap();
            let value = rust_decimal::Decimal::new(*mantissa, *scale).to_string();
            text.push_str(&format!("{at},s,{value}\n"));
            expected.push(vec![at.to_string(), "s".to_owned(), value]);
        }
        let (_, report, kept) = read(&text, "{}", "UTC").unwrap();
        prop_assert_eq!(report.rows, values.len() as u64);
        let found: Vec<Vec<String>> = kept.rows.into_iter().map(|row| row.cells).collect();
        prop_assert_eq!(found, expected);
    }
}
