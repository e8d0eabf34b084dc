//! The event envelope: what travels on an event bus and what a rule's targets receive.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};
use serde_json::value::RawValue;

use crate::{AccountId, Region, Timestamp};

/// An event on a bus, as "Amazon EventBridge event structure" (EventBridge User Guide) lays it out.
///
/// As JSON: `{"version":"0","id":…,"detail-type":…,"source":…,"account":…,"time":"2023-07-10T11:42:18Z","region":…,
/// "resources":[…],"detail":{…}}`, in this order. The time has seconds only, as the service writes it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Unique on its bus; a UUID.
    pub id: String,
    /// What kind of event `detail` is, such as `AWS API Call via CloudTrail`.
    pub detail_type: String,
    /// Who sent it, such as `aws.ec2`.
    pub source: String,
    /// The account it happened in.
    pub account: AccountId,
    /// When it happened.
    pub time: Timestamp,
    /// The region it happened in.
    pub region: Region,
    /// The ARNs of what it is about; may be empty. Senders of custom events put what they like.
    pub resources: Vec<String>,
    /// A JSON object, byte for byte as its source wrote it but without insignificant whitespace.
    pub detail: Box<RawValue>,
}

impl Event {
    /// The event as JSON on one line.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, a list of strings and text that is JSON already cannot fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Takes JSON text as a detail: checks it and removes the whitespace between its tokens, so that an event is one
    /// line wherever lines matter. Key order, duplicate keys and the writing of numbers stay as they are.
    pub fn compact(json: &str) -> Result<Box<RawValue>, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(json)?;
        let text = raw.get();
        if !text.bytes().any(|b| b.is_ascii_whitespace()) {
            return Ok(raw.to_owned());
        }
        let (mut compact, mut in_string, mut escaped) = (String::with_capacity(text.len()), false, false);
        for c in text.chars() {
            if in_string {
                in_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
            } else if c == '"' {
                in_string = true;
            } else if c.is_ascii_whitespace() {
                continue;
            }
            compact.push(c);
        }
        RawValue::from_string(compact)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut event = s.serialize_struct("Event", 9)?;
        event.serialize_field("version", "0")?;
        event.serialize_field("id", &self.id)?;
        event.serialize_field("detail-type", &self.detail_type)?;
        event.serialize_field("source", &self.source)?;
        event.serialize_field("account", &self.account)?;
        event.serialize_field("time", &self.time.to_iso_secs())?;
        event.serialize_field("region", &self.region)?;
        event.serialize_field("resources", &self.resources)?;
        event.serialize_field("detail", &self.detail)?;
        event.end()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Wire {
            id: String,
            detail_type: String,
            source: String,
            account: AccountId,
            time: String,
            region: Region,
            #[serde(default)]
            resources: Vec<String>,
            detail: Box<RawValue>,
        }
        let w = Wire::deserialize(d)?;
        Ok(Self {
            id: w.id,
            detail_type: w.detail_type,
            source: w.source,
            account: w.account,
            time: w.time.parse().map_err(serde::de::Error::custom)?,
            region: w.region,
            resources: w.resources,
            detail: w.detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"111122223333","time":"2017-12-22T18:43:48Z","region":"us-west-1","resources":["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],"detail":{"z":1.50,"a":"x \" y"}}"#;

    #[test]
    fn reads_back_as_written_in_the_services_order() {
        let event: Event = serde_json::from_str(LINE).unwrap();
        assert_eq!(String::from_utf8(event.to_json()).unwrap(), LINE);
    }

    #[test]
    fn a_compact_detail_keeps_strings_and_numbers_as_written() {
        let raw =
            Event::compact(" { \"a b\" : [ 1.50 , \"x \\\\\\\" \\n y\" , null ],\n\t\"c\":\"\\\\\" , \"d\" : {} } ")
                .unwrap();
        assert_eq!(raw.get(), r#"{"a b":[1.50,"x \\\" \n y",null],"c":"\\","d":{}}"#);
        assert!(Event::compact("{").is_err());
    }
}
