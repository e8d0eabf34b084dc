//! PutEvents: entries become events, or are refused one by one.
//!
//! Codes and limits: "PutEventsResultEntry" and "Calculating PutEvents event entry size" of the EventBridge
//! documentation.

use std::collections::BTreeMap;

use base::{BusName, Event};
use wire::events::{PutEventsInput, PutEventsOutput, PutEventsRequestEntry, PutEventsResultEntry};
use wire::{Call, ServiceError, only};

use super::{EventBridge, SERVICE, bus_of};

/// The size of all entries of a request, at most, in bytes.
const MAX_REQUEST: usize = 1 << 20;
/// A detail type has at most so many characters.
const MAX_DETAIL_TYPE: usize = 128;
/// A source has at most so many characters.
const MAX_SOURCE: usize = 256;

/// Why an entry is refused: code and message.
type Refusal = (&'static str, String);

pub(super) async fn put(
    service: &EventBridge,
    call: &Call,
    input: PutEventsInput,
) -> Result<PutEventsOutput, ServiceError> {
    only(SERVICE, &input, &["Entries"])?;
    if input.entries.iter().map(size).sum::<usize>() > MAX_REQUEST {
        return Err(super::invalid("Total size of the entries in the request is over the limit."));
    }
    let mut results = vec![PutEventsResultEntry::default(); input.entries.len()];
    let mut by_bus: BTreeMap<BusName, Vec<(usize, Event)>> = BTreeMap::new();
    for (at, entry) in input.entries.into_iter().enumerate() {
        match read(service, call, entry) {
            Ok((bus, event)) => by_bus.entry(bus).or_default().push((at, event)),
            Err(refusal) => results[at] = refused(refusal),
        }
    }
    for (bus, entries) in by_bus {
        let (places, events): (Vec<usize>, Vec<Event>) = entries.into_iter().unzip();
        let outcome = service.buses.put_events(&call.scope, &bus, &events).await;
        for (at, event) in places.into_iter().zip(events) {
            results[at] = match &outcome {
                Ok(()) => PutEventsResultEntry { event_id: Some(event.id), ..Default::default() },
                Err(error) => {
                    let error = super::failed_entry(error);
                    PutEventsResultEntry {
                        error_code: Some(error.0),
                        error_message: Some(error.1),
                        ..Default::default()
                    }
                }
            };
        }
    }
    let failures = results.iter().filter(|result| result.error_code.is_some()).count();
    Ok(PutEventsOutput { failed_entry_count: i32::try_from(failures).ok(), entries: Some(results) })
}

fn refused((code, message): Refusal) -> PutEventsResultEntry {
    PutEventsResultEntry { error_code: Some(code.to_owned()), error_message: Some(message), ..Default::default() }
}

fn read(service: &EventBridge, call: &Call, entry: PutEventsRequestEntry) -> Result<(BusName, Event), Refusal> {
    let argument =
        |name: &str, reason: String| ("InvalidArgument", format!("Parameter {name} is not valid. Reason: {reason}"));
    if entry.trace_header.is_some() {
        return Err(argument("TraceHeader", "trace headers are not available in this version of Tidegate.".to_owned()));
    }
    let needed = |value: Option<String>, name: &str| {
        value.filter(|text| !text.is_empty()).ok_or_else(|| argument(name, format!("{name} is a required argument.")))
    };
    let source = needed(entry.source, "Source")?;
    let detail_type = needed(entry.detail_type, "DetailType")?;
    let detail = needed(entry.detail, "Detail")?;
    if source.starts_with("aws.") || source == "aws" {
        return Err(("NotAuthorizedForSourceException", "Not authorized for the source.".to_owned()));
    }
    for (name, text, max) in [("Source", &source, MAX_SOURCE), ("DetailType", &detail_type, MAX_DETAIL_TYPE)] {
        if text.chars().count() > max {
            return Err(argument(name, format!("{name} has more than {max} characters.")));
        }
    }
    let detail = Event::compact(&detail)
        .ok()
        .filter(|detail| detail.get().starts_with('{'))
        .ok_or_else(|| ("MalformedDetail", "Detail is malformed.".to_owned()))?;
    let bus = bus_of(&call.scope, entry.event_bus_name.as_deref()).map_err(|e| argument("EventBusName", e.message))?;
    let event = Event {
        // It says when it was made, so that its way can be found.
        id: service.env.rng.uuid_at(call.now),
        detail_type,
        source,
        account: call.scope.account.clone(),
        time: entry.time.unwrap_or(call.now),
        region: call.scope.region.clone(),
        resources: entry.resources.unwrap_or_default(),
        detail,
    };
    Ok((bus, event))
}

fn size(entry: &PutEventsRequestEntry) -> usize {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let resources: usize = entry.resources.iter().flatten().map(String::len).sum();
    let time = if entry.time.is_some() { 14 } else { 0 };
    time + len(&entry.source) + len(&entry.detail_type) + len(&entry.detail) + resources
}
