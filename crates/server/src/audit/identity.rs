//! Who called, as a record's `userIdentity` says it.
//!
//! The fields are those of "CloudTrail userIdentity element" (CloudTrail User Guide). Sessions have no `creationDate`: it
//! is not known where they are checked. Nobody has a second factor here, and records say so.

use base::{AccountId, Arn, Principal};
use serde_json::{Map, Value, json};

/// The identity of a caller.
pub(super) fn user_identity(account: &AccountId, principal: &Principal, access_key_id: Option<&str>) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    match principal {
        Principal::Anonymous => {
            put("type", json!("AWSAccount"));
            put("principalId", json!(""));
            put("accountId", json!("ANONYMOUS_PRINCIPAL"));
            return Value::Object(fields);
        }
        Principal::Service { name } => {
            put("type", json!("AWSService"));
            put("invokedBy", json!(name));
            return Value::Object(fields);
        }
        Principal::Root => put("type", json!("Root")),
        Principal::User { .. } => put("type", json!("IAMUser")),
        Principal::Session { .. } => put("type", json!("AssumedRole")),
    };
    put("principalId", json!(principal.id(account)));
    put("arn", json!(principal.arn(account)));
    put("accountId", json!(account));
    if let Some(id) = access_key_id {
        put("accessKeyId", json!(id));
    }
    match principal {
        Principal::User { arn, .. } => {
            put("userName", json!(last(arn)));
        }
        Principal::Session { role, role_id, .. } => {
            let issuer = json!({
                "type": "Role", "principalId": role_id, "arn": role, "accountId": role.account().map_or(account.as_str(), AccountId::as_str),
                "userName": last(role),
            });
            put("sessionContext", json!({"sessionIssuer": issuer, "attributes": {"mfaAuthenticated": "false"}}));
        }
        _ => {}
    }
    Value::Object(fields)
}

/// The name of a user or role, without its path.
fn last(arn: &Arn) -> &str {
    arn.resource().rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(principal: &Principal) -> Value {
        user_identity(&"123456789012".parse().unwrap(), principal, Some("AKIA1"))
    }

    fn arn(text: &str) -> Arn {
        text.parse().unwrap()
    }

    #[test]
    fn each_kind_of_caller_has_its_form() {
        assert_eq!(
            identity(&Principal::Root),
            json!({"type": "Root", "principalId": "123456789012", "arn": "arn:aws:iam::123456789012:root",
                   "accountId": "123456789012", "accessKeyId": "AKIA1"})
        );
        let user = Principal::User { arn: arn("arn:aws:iam::123456789012:user/ops/ann"), id: "AIDA1".into() };
        assert_eq!(
            identity(&user),
            json!({"type": "IAMUser", "principalId": "AIDA1", "arn": "arn:aws:iam::123456789012:user/ops/ann",
                   "accountId": "123456789012", "accessKeyId": "AKIA1", "userName": "ann"})
        );
        let role = arn("arn:aws:iam::123456789012:role/service/worker");
        let session = Principal::Session { role, role_id: "AROA1".into(), name: "alert".into() };
        assert_eq!(
            identity(&session),
            json!({"type": "AssumedRole", "principalId": "AROA1:alert",
                   "arn": "arn:aws:sts::123456789012:assumed-role/worker/alert", "accountId": "123456789012",
                   "accessKeyId": "AKIA1", "sessionContext": {
                       "sessionIssuer": {"type": "Role", "principalId": "AROA1",
                                         "arn": "arn:aws:iam::123456789012:role/service/worker",
                                         "accountId": "123456789012", "userName": "worker"},
                       "attributes": {"mfaAuthenticated": "false"}}})
        );
        let service = Principal::Service { name: "events.amazonaws.com".into() };
        assert_eq!(identity(&service), json!({"type": "AWSService", "invokedBy": "events.amazonaws.com"}));
        assert_eq!(identity(&Principal::Anonymous)["accountId"], "ANONYMOUS_PRINCIPAL");
    }
}
