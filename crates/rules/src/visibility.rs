//! What a rule sees by its state, beside its pattern.

use serde_json::Value;

/// Calls whose names begin like reads but which change things: they issue credentials.
const NOT_READS: [&str; 2] = ["GetFederationToken", "GetSessionToken"];

/// Whether an event is a read-only management event that CloudTrail delivered: what a rule in state `ENABLED` does not
/// see, and one in state `ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS` does ("Receiving read-only management events
/// from AWS services", EventBridge User Guide).
///
/// CloudTrail says itself whether an event is read-only. Records from before it did (event version 1.01 and older) are
/// told by their names: `Describe…`, `Get…` and `List…` only read. Data events, such as reads of objects, and what
/// others than AWS services put on a bus are seen in both states.
pub fn is_read_only_management(event: &Value) -> bool {
    let from_cloudtrail = text(event, "source").is_some_and(|source| source.starts_with("aws."))
        && text(event, "detail-type").is_some_and(|kind| kind.ends_with(" via CloudTrail"));
    let Some(detail) = event.get("detail").filter(|_| from_cloudtrail) else { return false };
    let management = detail.get("managementEvent").and_then(Value::as_bool).unwrap_or(true)
        && text(detail, "eventCategory").is_none_or(|category| category == "Management");
    let name = text(detail, "eventName").unwrap_or("");
    if !management || NOT_READS.contains(&name) {
        return false;
    }
    detail
        .get("readOnly")
        .and_then(Value::as_bool)
        .unwrap_or_else(|| ["Describe", "Get", "List"].iter().any(|prefix| name.starts_with(prefix)))
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(detail: &Value) -> bool {
        is_read_only_management(
            &json!({"source": "aws.iam", "detail-type": "AWS API Call via CloudTrail", "detail": detail}),
        )
    }

    #[test]
    fn the_record_says_whether_it_only_reads() {
        assert!(call(
            &json!({"eventName": "AssumeRole", "readOnly": true, "managementEvent": true, "eventCategory": "Management"})
        ));
        assert!(!call(&json!({"eventName": "GetThingDone", "readOnly": false})));
        assert!(!call(&json!({"eventName": "GetFederationToken", "readOnly": true})));
    }

    #[test]
    fn without_its_word_the_name_tells() {
        assert!(call(&json!({"eventName": "ListUsers"})));
        assert!(!call(&json!({"eventName": "CreateUser"})));
    }

    #[test]
    fn data_events_and_events_of_others_are_seen() {
        assert!(!call(
            &json!({"eventName": "GetObject", "readOnly": true, "managementEvent": false, "eventCategory": "Data"})
        ));
        let own =
            json!({"source": "my.app", "detail-type": "AWS API Call via CloudTrail", "detail": {"readOnly": true}});
        assert!(!is_read_only_management(&own));
        let state = json!({"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": {"readOnly": true}});
        assert!(!is_read_only_management(&state));
    }
}
