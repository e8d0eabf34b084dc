//! The fixed policy that holds until roles carry their own: the owner may everything, functions may use data.

use base::{Access, AccountId, Arn, Authorizer, Decision, Principal};

/// What a function's session may do, on any resource of the account: move and read data, call functions, publish.
/// Nothing here creates, changes or deletes a resource, but for an index: a document that is put into one that is not
/// there creates it, so its PUT is not kept from functions, only its DELETE. A final `*` stands for any ending.
const FUNCTION_ACTIONS: &[&str] = &[
    "es:ESHttpGet",
    "es:ESHttpHead",
    "es:ESHttpPost",
    "es:ESHttpPut",
    "events:PutEvents",
    "firehose:PutRecord",
    "firehose:PutRecordBatch",
    "kinesis:Describe*",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:List*",
    "kinesis:PutRecord",
    "kinesis:PutRecords",
    "lambda:InvokeFunction",
    "sns:Publish",
    "sns:PublishBatch",
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:ListQueues",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
    "sts:GetCallerIdentity",
];

/// The [`Authorizer`] of this release.
#[derive(Debug)]
pub struct FixedPolicy {
    account: AccountId,
}

impl FixedPolicy {
    /// The policy of one account.
    pub fn new(account: AccountId) -> Self {
        Self { account }
    }
}

impl Authorizer for FixedPolicy {
    fn decide(&self, access: &Access<'_>) -> Decision {
        let allowed = match access.principal {
            Principal::Root => true,
            Principal::Anonymous | Principal::User { .. } | Principal::Service { .. } => false,
            Principal::Session { .. } => FUNCTION_ACTIONS.iter().any(|pattern| matches(pattern, access.action)),
        };
        if allowed {
            return Decision::Allow;
        }
        Decision::Deny(format!(
            "User: {} is not authorized to perform: {} on resource: {} because no identity-based policy allows the {} action",
            access.principal.arn(&self.account),
            access.action,
            access.resource,
            access.action
        ))
    }

    fn assume(&self, _: &str, role: &Arn, session: &str, _: &[(&str, &str)]) -> Result<Principal, String> {
        Ok(Principal::Session { role: role.clone(), role_id: String::new(), name: session.to_owned() })
    }
}

fn matches(pattern: &str, action: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == action, |prefix| action.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(principal: &Principal, action: &str) -> Decision {
        let policy = FixedPolicy::new("000000000000".parse().unwrap());
        policy.decide(&Access { principal, action, resource: "*", context: &[] })
    }

    #[test]
    fn functions_use_data_and_change_nothing() {
        let function = Principal::Session {
            role: "arn:aws:iam::000000000000:role/service/worker".parse().unwrap(),
            role_id: String::new(),
            name: "alert".to_owned(),
        };
        for action in ["sns:Publish", "kinesis:PutRecords", "kinesis:DescribeStreamSummary", "es:ESHttpPost"] {
            assert_eq!(decide(&function, action), Decision::Allow, "{action}");
        }
        for action in [
            "kinesis:DeleteStream",
            "es:ESHttpDelete",
            "es:ESHttpOther",
            "lambda:CreateFunction",
            "sns:CreateTopic",
            "tidegate:Metrics",
            "",
            "sns:PublishX",
        ] {
            let Decision::Deny(reason) = decide(&function, action) else { panic!("{action} was allowed") };
            assert!(
                reason.starts_with(
                    "User: arn:aws:sts::000000000000:assumed-role/worker/alert is not authorized to perform"
                )
            );
        }
        assert_ne!(decide(&Principal::Anonymous, "sns:Publish"), Decision::Allow);
        assert_eq!(decide(&Principal::Root, "lambda:CreateFunction"), Decision::Allow);
    }
}
