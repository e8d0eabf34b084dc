//! What a record looks like.

use base::{AccountId, Region, Rng, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::calls::{About, Call};
use super::cast::{Actor, PEOPLE};
use super::pick;

/// Where and when a record is made, and its own randomness.
pub(super) struct Scene<'a> {
    pub account: &'a AccountId,
    pub region: &'a Region,
    pub time: Timestamp,
    pub rng: &'a dyn Rng,
}

/// What differs between records.
pub(super) struct Act<'a> {
    /// The service's host, without `.amazonaws.com`.
    pub service: &'a str,
    pub name: &'a str,
    pub event_type: &'a str,
    pub identity: Value,
    pub address: &'a str,
    pub agent: &'a str,
    pub reads: bool,
    pub request: Value,
    pub response: Value,
    pub error: Option<(&'a str, &'a str)>,
    /// More about the call, such as whether a second factor was used.
    pub additional: Option<Value>,
    /// The ARN and type of what it is about.
    pub resource: Option<(String, &'a str)>,
}

/// A CloudTrail record, its fields in CloudTrail's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    event_version: &'a str,
    user_identity: Value,
    event_time: String,
    event_source: String,
    event_name: &'a str,
    aws_region: &'a Region,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    request_parameters: Value,
    response_elements: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_event_data: Option<Value>,
    #[serde(rename = "requestID")]
    request_id: String,
    #[serde(rename = "eventID")]
    event_id: String,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Value>,
    event_type: &'a str,
    management_event: bool,
    recipient_account_id: &'a AccountId,
    event_category: &'a str,
}

impl Scene<'_> {
    /// The id and text of a record.
    pub fn record(&self, act: Act<'_>) -> (String, String) {
        let record = Record {
            event_version: "1.11",
            user_identity: act.identity,
            event_time: self.time.to_iso_secs(),
            event_source: format!("{}.amazonaws.com", act.service),
            event_name: act.name,
            aws_region: self.region,
            source_ip_address: act.address,
            user_agent: act.agent,
            error_code: act.error.map(|(code, _)| code),
            error_message: act.error.map(|(_, message)| message),
            request_parameters: act.request,
            response_elements: act.response,
            additional_event_data: act.additional,
            request_id: self.rng.uuid(),
            event_id: self.rng.uuid(),
            read_only: act.reads,
            resources: act.resource.map(|(arn, kind)| json!([{"accountId": self.account, "type": kind, "ARN": arn}])),
            event_type: act.event_type,
            management_event: true,
            recipient_account_id: self.account,
            event_category: "Management",
        };
        // Strings, numbers and JSON values cannot fail to serialise.
        let text = serde_json::to_string(&record).unwrap_or_default();
        (record.event_id, text)
    }

    /// The record of an everyday call. Now and then one is denied.
    pub fn routine(&self, actor: Actor, call: &Call) -> (String, String) {
        let denied = self.rng.below(60) == 0;
        let (request, resource) = self.about(call.about);
        let response = if call.reads || denied { Value::Null } else { self.response(call) };
        self.record(Act {
            service: call.service,
            name: call.name,
            event_type: "AwsApiCall",
            identity: actor.identity(self.account),
            address: actor.address(),
            agent: actor.agent(),
            reads: call.reads,
            request,
            response,
            error: denied.then_some(("AccessDenied", "User is not authorized to perform this action")),
            additional: None,
            resource,
        })
    }

    fn response(&self, call: &Call) -> Value {
        match call.name {
            "RunInstances" => json!({
                "requestId": self.rng.uuid(),
                "instancesSet": {"items": [{"instanceId": self.instance(), "instanceType": "t3.medium"}]},
            }),
            _ => json!({"requestId": self.rng.uuid(), "_return": true}),
        }
    }

    /// The id of an instance.
    pub fn instance(&self) -> String {
        format!("i-0{:016x}", self.rng.u64())
    }

    fn about(&self, about: About) -> (Value, Option<(String, &'static str)>) {
        const BUCKETS: [&str; 4] = ["acme-invoices", "acme-web-assets", "acme-audit-logs", "acme-backups"];
        const FUNCTIONS: [&str; 4] = ["resize-images", "send-receipts", "sync-stock", "score-orders"];
        const ROLES: [&str; 3] = ["ci-deployer", "web-frontend", "order-worker"];
        const NAMES: [&str; 3] = ["orders", "checkout", "catalogue"];
        let (account, region, name) = (self.account, self.region, pick(&NAMES, self.rng));
        match about {
            About::Nothing => (Value::Null, None),
            About::Instance => (json!({"instancesSet": {"items": [{"instanceId": self.instance()}]}}), None),
            About::Bucket => {
                let bucket = pick(&BUCKETS, self.rng);
                (json!({"bucketName": bucket}), Some((format!("arn:aws:s3:::{bucket}"), "AWS::S3::Bucket")))
            }
            About::Function => (json!({"functionName": pick(&FUNCTIONS, self.rng)}), None),
            About::User => {
                let index = usize::try_from(self.rng.below(PEOPLE.len() as u64)).unwrap_or(0);
                (json!({"userName": PEOPLE[index].name}), None)
            }
            About::Role => {
                let role = pick(&ROLES, self.rng);
                let arn = format!("arn:aws:iam::{account}:role/{role}");
                (json!({"roleArn": arn, "roleName": role}), Some((arn, "AWS::IAM::Role")))
            }
            About::Key => {
                let arn =
                    format!("arn:aws:kms:{region}:{account}:key/6f1c1d0e-4b7a-4d0c-9a55-0c6a2f1e{:04x}", name.len());
                (json!({"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}), Some((arn, "AWS::KMS::Key")))
            }
            About::Secret => (json!({"secretId": format!("prod/{name}/database")}), None),
            About::Parameter => (json!({"name": format!("/prod/{name}/endpoint"), "withDecryption": true}), None),
            About::LogGroup => (json!({"logGroupName": format!("/aws/lambda/{}", pick(&FUNCTIONS, self.rng))}), None),
            About::Stack => (json!({"stackName": name}), None),
            About::Table => {
                let arn = format!("arn:aws:dynamodb:{region}:{account}:table/{name}");
                (json!({"tableName": name}), Some((arn, "AWS::DynamoDB::Table")))
            }
        }
    }
}
