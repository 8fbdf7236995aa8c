//! One answer of Unified Diagnostic Services.

use serde::Deserialize;
use serde_json::{Value, json};

use super::bytes;
use crate::tool::{ToolContext, ToolError, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    bytes: String,
}

/// Request identifiers and their services.
///
/// # Source
/// ISO 14229-1, table of service identifiers.
const SERVICES: [(u8, &str); 24] = [
    (0x10, "DiagnosticSessionControl"),
    (0x11, "ECUReset"),
    (0x14, "ClearDiagnosticInformation"),
    (0x19, "ReadDTCInformation"),
    (0x22, "ReadDataByIdentifier"),
    (0x23, "ReadMemoryByAddress"),
    (0x24, "ReadScalingDataByIdentifier"),
    (0x27, "SecurityAccess"),
    (0x28, "CommunicationControl"),
    (0x29, "Authentication"),
    (0x2A, "ReadDataByPeriodicIdentifier"),
    (0x2C, "DynamicallyDefineDataIdentifier"),
    (0x2E, "WriteDataByIdentifier"),
    (0x2F, "InputOutputControlByIdentifier"),
    (0x31, "RoutineControl"),
    (0x34, "RequestDownload"),
    (0x35, "RequestUpload"),
    (0x36, "TransferData"),
    (0x37, "RequestTransferExit"),
    (0x38, "RequestFileTransfer"),
    (0x3D, "WriteMemoryByAddress"),
    (0x3E, "TesterPresent"),
    (0x85, "ControlDTCSetting"),
    (0x87, "LinkControl"),
];

/// Negative response codes: name and what it means for the person.
///
/// # Source
/// ISO 14229-1, annex A.
const REFUSALS: [(u8, &str, &str); 20] = [
    (0x10, "generalReject", "The control unit refused without a nearer reason."),
    (0x11, "serviceNotSupported", "The control unit does not know this service."),
    (0x12, "subFunctionNotSupported", "The control unit does not know this sub-function."),
    (
        0x13,
        "incorrectMessageLengthOrInvalidFormat",
        "The request was too long, too short or malformed.",
    ),
    (0x14, "responseTooLong", "The answer would not fit the transport."),
    (0x21, "busyRepeatRequest", "The control unit is busy; ask again."),
    (0x22, "conditionsNotCorrect", "The vehicle's state does not allow it now."),
    (0x24, "requestSequenceError", "A step that must come first is missing."),
    (0x25, "noResponseFromSubnetComponent", "A unit behind the gateway did not answer."),
    (0x26, "failurePreventsExecutionOfRequestedAction", "A stored fault prevents it."),
    (0x31, "requestOutOfRange", "The identifier or value is not known to the control unit."),
    (0x33, "securityAccessDenied", "Security access has to be granted first."),
    (0x34, "authenticationRequired", "Authentication has to come first."),
    (0x35, "invalidKey", "The key of security access was wrong."),
    (0x36, "exceedNumberOfAttempts", "Too many wrong keys were tried."),
    (0x37, "requiredTimeDelayNotExpired", "Wait before the next attempt."),
    (0x72, "generalProgrammingFailure", "Programming of the memory failed."),
    (0x78, "requestCorrectlyReceivedResponsePending", "The answer will follow; keep waiting."),
    (
        0x7E,
        "subFunctionNotSupportedInActiveSession",
        "Another diagnostic session is needed for this sub-function.",
    ),
    (
        0x7F,
        "serviceNotSupportedInActiveSession",
        "Another diagnostic session is needed for this service.",
    ),
];

/// Bits of the status byte, bit 0 first.
const FLAGS: [&str; 8] = [
    "testFailed",
    "testFailedThisOperationCycle",
    "pendingDTC",
    "confirmedDTC",
    "testNotCompletedSinceLastClear",
    "testFailedSinceLastClear",
    "testNotCompletedThisOperationCycle",
    "warningIndicatorRequested",
];

/// Identifiers with a standard meaning.
const IDENTIFIERS: [(u16, &str); 8] = [
    (0xF186, "active diagnostic session"),
    (0xF187, "spare part number"),
    (0xF188, "control unit software number"),
    (0xF189, "control unit software version"),
    (0xF18C, "control unit serial number"),
    (0xF190, "VIN"),
    (0xF191, "control unit hardware number"),
    (0xF195, "supplier software version"),
];

/// Answers of service 19 whose records are 3 code bytes and 1 status byte.
const DTC_LISTS: [u8; 4] = [0x02, 0x0A, 0x0B, 0x15];

/// An answer in pieces.
#[derive(Default)]
struct Answer {
    sub_function: Option<u8>,
    mask: Option<u8>,
    dtcs: Vec<Value>,
    data: Vec<Value>,
    negative: Option<Value>,
    warnings: Vec<Value>,
}

fn dtc(record: &[u8]) -> Value {
    let status = record[3];
    let set = |bit: usize| status >> bit & 1 == 1;
    let flags: Vec<&str> =
        FLAGS.iter().enumerate().filter(|(bit, _)| set(*bit)).map(|(_, name)| *name).collect();
    json!({
        "code": bytes::code(record[0], record[1]),
        "failure_type": format!("{:02X}", record[2]),
        "status_hex": format!("{status:02X}"),
        "status_flags": flags,
        "confirmed": set(3),
        "failing_now": set(0),
        "warning_lamp": set(7),
    })
}

fn dtcs(rest: &[u8]) -> Result<Answer, ToolError> {
    let [sub, body @ ..] = rest else {
        return Err(ToolError::invalid("/bytes", "the answer ends before its sub-function"));
    };
    let mut answer = Answer { sub_function: Some(*sub), ..Answer::default() };
    if !DTC_LISTS.contains(sub) {
        answer.warnings.push(warning(
            "layout_not_decoded",
            format!("Sub-function {sub:02X} has another layout than a list of codes; its bytes were not read."),
        ));
        return Ok(answer);
    }
    let [mask, records @ ..] = body else {
        return Err(ToolError::invalid("/bytes", "the answer ends before its availability mask"));
    };
    let whole = records.chunks_exact(4);
    if !whole.remainder().is_empty() {
        let left = whole.remainder().len();
        return Err(ToolError::invalid(
            "/bytes",
            format!("the last record has {left} bytes, 4 are needed"),
        ));
    }
    answer.mask = Some(*mask);
    answer.dtcs = whole.map(dtc).collect();
    Ok(answer)
}

fn data(rest: &[u8]) -> Result<Answer, ToolError> {
    let [high, low, body @ ..] = rest else {
        return Err(ToolError::invalid("/bytes", "the answer ends before its identifier"));
    };
    let identifier = u16::from_be_bytes([*high, *low]);
    let name = IDENTIFIERS.iter().find(|(id, _)| *id == identifier).map(|(_, name)| *name);
    let printable = !body.is_empty() && body.iter().all(|b| (0x20..0x7F).contains(b));
    let text = printable.then(|| String::from_utf8_lossy(body).into_owned());
    let data = vec![json!({
        "identifier_hex": format!("{identifier:04X}"),
        "name": name,
        "text": text,
        "raw_hex": hex::encode_upper(body),
    })];
    Ok(Answer { data, ..Answer::default() })
}

fn refusal(code: u8) -> Value {
    let known = REFUSALS.iter().find(|(c, _, _)| *c == code);
    let (name, meaning) = known.map_or(
        (
            "manufacturerOrReserved",
            "The maker or a later edition of the standard defines this code.",
        ),
        |(_, name, meaning)| (*name, *meaning),
    );
    json!({ "code_hex": format!("{code:02X}"), "name": name, "meaning": meaning })
}

/// Explains one answer.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the bytes are no UDS answer, or end inside a record.
///
/// # Source
/// ISO 14229-1.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let bytes = bytes::of_hex(&args.bytes, "/bytes")?;
    let (request, answer) = match bytes.as_slice() {
        [0x7F, service, code] => {
            (*service, Answer { negative: Some(refusal(*code)), ..Answer::default() })
        }
        [0x7F, ..] => return Err(ToolError::invalid("/bytes", "a negative response has 3 bytes")),
        [0x59, rest @ ..] => (0x19, dtcs(rest)?),
        [0x62, rest @ ..] => (0x22, data(rest)?),
        [first, ..] if *first >= 0x50 => {
            let mut answer = Answer::default();
            answer.warnings.push(warning(
                "payload_not_decoded",
                "Only the service is named; its bytes were not read.",
            ));
            (first - 0x40, answer)
        }
        _ => {
            return Err(ToolError::invalid(
                "/bytes",
                "no UDS answer: it begins with 7F or with 50 and above",
            ));
        }
    };
    let name = SERVICES.iter().find(|(id, _)| *id == request).map_or("unknown", |(_, name)| name);
    Ok(json!({
        "service": name,
        "service_hex": format!("{request:02X}"),
        "response": if answer.negative.is_some() { "negative" } else { "positive" },
        "sub_function_hex": answer.sub_function.map(|sub| format!("{sub:02X}")),
        "availability_mask_hex": answer.mask.map(|mask| format!("{mask:02X}")),
        "dtcs": answer.dtcs,
        "data": answer.data,
        "negative": answer.negative,
        "method": "ISO 14229-1",
        "warnings": answer.warnings,
    }))
}
