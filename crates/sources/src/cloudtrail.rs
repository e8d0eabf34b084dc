//! CloudTrail records as events on a bus.
//!
//! The fields are those of "CloudTrail record contents" (CloudTrail User Guide); the envelope is that of "AWS service
//! events delivered via AWS CloudTrail" (EventBridge User Guide).

use std::borrow::Cow;
use std::str::FromStr;

use base::{Event, Timestamp};
use serde::Deserialize;

use crate::SourceError;

/// The fields that the envelope is made of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow, rename = "eventID")]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_category: Option<Cow<'a, str>>,
    #[serde(borrow)]
    aws_region: Option<Cow<'a, str>>,
    #[serde(borrow)]
    recipient_account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_identity: Option<Identity<'a>>,
    #[serde(borrow)]
    resources: Option<Vec<Resource<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(borrow)]
    account_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, rename = "ARN", alias = "arn")]
    arn: Option<Cow<'a, str>>,
}

/// Makes the event of a record, as JSON text. Its id is the record's `eventID`, its detail the record.
///
/// # Errors
/// The text is not JSON, or lacks what an event needs: id, time, region, account, source.
pub fn event(record: &[u8]) -> Result<Event, SourceError> {
    let text = std::str::from_utf8(record).map_err(|error| SourceError::Wrong {
        field: "its text",
        reason: format!("not UTF-8 from byte {} on", error.valid_up_to()),
    })?;
    let fields: Record<'_> = serde_json::from_str(text)?;
    let account = fields
        .recipient_account_id
        .or_else(|| fields.user_identity.and_then(|identity| identity.account_id))
        .ok_or(SourceError::Missing("recipientAccountId"))?;
    let kind = Kind::of(fields.event_type.as_deref(), fields.event_category.as_deref());
    let source = match (fields.event_source.as_deref(), kind) {
        (Some(source), _) => source_of(source)?,
        // An insight names the service that it is about in its details only.
        (None, Kind::Insight) => "aws.cloudtrail".to_owned(),
        (None, _) => return Err(SourceError::Missing("eventSource")),
    };
    Ok(Event {
        id: id_of(fields.event_id.ok_or(SourceError::Missing("eventID"))?)?,
        detail_type: kind.detail_type().to_owned(),
        source,
        account: parse("recipientAccountId", &account)?,
        time: parse::<Timestamp>("eventTime", &fields.event_time.ok_or(SourceError::Missing("eventTime"))?)?,
        region: parse("awsRegion", &fields.aws_region.ok_or(SourceError::Missing("awsRegion"))?)?,
        resources: fields
            .resources
            .unwrap_or_default()
            .into_iter()
            .filter_map(|r| r.arn)
            .map(Cow::into_owned)
            .collect(),
        detail: Event::compact(text)?,
    })
}

#[derive(Clone, Copy)]
enum Kind {
    ApiCall,
    ConsoleSignIn,
    ConsoleAction,
    ServiceEvent,
    Insight,
}

impl Kind {
    /// Types that are not known, such as network activity at a VPC endpoint, are calls of an API.
    fn of(event_type: Option<&str>, category: Option<&str>) -> Self {
        match (event_type, category) {
            (Some("AwsConsoleSignIn" | "AwsConsoleSignin"), _) => Self::ConsoleSignIn,
            (Some("AwsConsoleAction"), _) => Self::ConsoleAction,
            (Some("AwsServiceEvent"), _) => Self::ServiceEvent,
            (Some("AwsCloudTrailInsight"), _) | (_, Some("Insight")) => Self::Insight,
            _ => Self::ApiCall,
        }
    }

    /// The sign-in type is written as it is on buses; the list in the guide spells it `Signin`.
    fn detail_type(self) -> &'static str {
        match self {
            Self::ApiCall => "AWS API Call via CloudTrail",
            Self::ConsoleSignIn => "AWS Console Sign In via CloudTrail",
            Self::ConsoleAction => "AWS Console Action via CloudTrail",
            Self::ServiceEvent => "AWS Service Event via CloudTrail",
            Self::Insight => "AWS Insight via CloudTrail",
        }
    }
}

/// `ec2.amazonaws.com` is `aws.ec2`; so it is for every service, by the host's first part.
fn source_of(event_source: &str) -> Result<String, SourceError> {
    let host = event_source.strip_suffix(".cn").unwrap_or(event_source);
    let service = host.strip_suffix(".amazonaws.com").unwrap_or_else(|| host.split('.').next().unwrap_or(host));
    if service.is_empty() || service.len() > 200 || !service.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SourceError::Wrong { field: "eventSource", reason: "not the host name of a service".to_owned() });
    }
    Ok(format!("aws.{service}"))
}

/// An id is a UUID; what else is short and printable is taken too.
fn id_of(id: Cow<'_, str>) -> Result<String, SourceError> {
    if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SourceError::Wrong { field: "eventID", reason: "not 1 to 128 printable characters".to_owned() });
    }
    Ok(id.into_owned())
}

fn parse<T: FromStr>(field: &'static str, value: &str) -> Result<T, SourceError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error: T::Err| SourceError::Wrong { field, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn record() -> Value {
        json!({
            "eventVersion": "1.08", "eventID": "2d893b1d-e8f2-499b-a558-cb927d9b48ea", "eventTime": "2023-07-10T12:08:06Z",
            "eventSource": "ec2.amazonaws.com", "eventName": "TerminateInstances", "awsRegion": "us-east-1",
            "eventType": "AwsApiCall", "recipientAccountId": "123837392027", "requestParameters": {"n": 1.50},
            "resources": [{"ARN": "arn:aws:s3:::b", "accountId": "123837392027"}, {"type": "x"}],
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut record = record();
        record[field] = value;
        record
    }

    fn event_of(record: &Value) -> Result<Event, SourceError> {
        event(record.to_string().as_bytes())
    }

    #[test]
    fn the_envelope_comes_from_the_record() {
        let event = event_of(&record()).unwrap();
        let envelope: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(
            envelope,
            json!({
                "version": "0", "id": "2d893b1d-e8f2-499b-a558-cb927d9b48ea", "detail-type": "AWS API Call via CloudTrail",
                "source": "aws.ec2", "account": "123837392027", "time": "2023-07-10T12:08:06Z", "region": "us-east-1",
                "resources": ["arn:aws:s3:::b"], "detail": record(),
            })
        );
    }

    #[test]
    fn each_type_has_its_detail_type() {
        for (event_type, detail_type) in [
            ("AwsApiCall", "AWS API Call via CloudTrail"),
            ("AwsConsoleSignIn", "AWS Console Sign In via CloudTrail"),
            ("AwsConsoleAction", "AWS Console Action via CloudTrail"),
            ("AwsServiceEvent", "AWS Service Event via CloudTrail"),
            ("AwsCloudTrailInsight", "AWS Insight via CloudTrail"),
            ("AwsVpceEvents", "AWS API Call via CloudTrail"),
        ] {
            assert_eq!(event_of(&with("eventType", json!(event_type))).unwrap().detail_type, detail_type);
        }
    }

    #[test]
    fn each_service_has_its_source() {
        for (host, source) in [
            ("signin.amazonaws.com", "aws.signin"),
            ("resource-explorer-2.amazonaws.com", "aws.resource-explorer-2"),
            ("ec2.amazonaws.com.cn", "aws.ec2"),
            ("support.aws.example", "aws.support"),
        ] {
            assert_eq!(event_of(&with("eventSource", json!(host))).unwrap().source, source);
        }
        let insight = json!({"eventID": "x", "eventTime": "2023-07-10T12:08:06Z", "awsRegion": "us-east-1", "eventType": "AwsCloudTrailInsight", "recipientAccountId": "123837392027"});
        assert_eq!(event_of(&insight).unwrap().source, "aws.cloudtrail");
    }

    #[test]
    fn what_cannot_be_an_event_is_named() {
        for (field, value, named) in [
            ("eventID", Value::Null, "eventID is missing"),
            ("eventID", json!(""), "eventID:"),
            ("eventTime", json!("yesterday"), "eventTime: time 'yesterday'"),
            ("awsRegion", json!("US EAST"), "awsRegion:"),
            ("recipientAccountId", json!("12"), "recipientAccountId:"),
            ("eventSource", json!(".amazonaws.com"), "eventSource:"),
            ("resources", json!("x"), "invalid type"),
        ] {
            let error = event_of(&with(field, value)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(event(b"{\"eventID\":").is_err() && event(b"[]").is_err() && event(&[b'"', 0xff, b'"']).is_err());
        let mut no_recipient = with("userIdentity", json!({"accountId": "123837392027"}));
        no_recipient["recipientAccountId"] = Value::Null;
        assert_eq!(event_of(&no_recipient).unwrap().account.as_str(), "123837392027");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", field in "eventID|eventTime|awsRegion|resources|userIdentity", value in ".{0,10}") {
            let _ = event(text.as_bytes());
            let _ = event_of(&with(&field, json!(value)));
        }
    }
}
