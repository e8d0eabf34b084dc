//! What attackers and the careless do on this day.

use std::time::Duration;

use serde_json::{Value, json};

use super::cast::{PEOPLE, root, user};
use super::record::{Act, Scene};

/// An attack, or a mistake that opens the door to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// At night somebody tries a leaked key, finds it works, and gives themselves more.
    LeakedKey,
    /// Then blinds the watchers.
    Blinding,
    /// And destroys.
    NightDestruction,
    /// Somebody opens SSH to the world.
    OpenDoor,
    /// The root user signs in without a second factor.
    RootSignIn,
    /// A password is guessed.
    GuessedPassword,
    /// Data is shared with a foreign account and the world.
    Exfiltration,
    /// The guessed account deletes what it used.
    EveningDestruction,
}

const TOOL: &str = "aws-cli/2.15.0 Python/3.11.6 Linux/6.5.0-kali3-amd64";
const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36";
const NIGHT: &str = "203.0.113.66";
const EVENING: &str = "198.51.100.23";

/// One step: seconds after the story's start.
type Step = (u64, fn(&Scene<'_>) -> (String, String));

impl Story {
    /// All of them, in the order of the day.
    pub const ALL: [Self; 8] = [
        Self::LeakedKey,
        Self::Blinding,
        Self::NightDestruction,
        Self::OpenDoor,
        Self::RootSignIn,
        Self::GuessedPassword,
        Self::Exfiltration,
        Self::EveningDestruction,
    ];

    /// What a newcomer is told.
    pub fn title(self) -> &'static str {
        match self {
            Self::LeakedKey => "a leaked key is tried, and used to get more",
            Self::Blinding => "the audit trail and the detector are switched off",
            Self::NightDestruction => "servers are destroyed at night",
            Self::OpenDoor => "somebody opens SSH to the whole internet",
            Self::RootSignIn => "the root user signs in without a second factor",
            Self::GuessedPassword => "a password is guessed",
            Self::Exfiltration => "data is shared with strangers",
            Self::EveningDestruction => "the traces are destroyed",
        }
    }

    fn script(self) -> (u64, &'static [Step]) {
        let at = |hour: u64, minute: u64| hour * 3_600 + minute * 60;
        match self {
            Self::LeakedKey => (
                at(2, 41),
                &[
                    (0, |s| night(s, "sts", "GetCallerIdentity", true, Value::Null)),
                    (21, |s| night(s, "s3", "ListBuckets", true, Value::Null)),
                    (58, |s| night(s, "iam", "ListUsers", true, Value::Null)),
                    (133, |s| night(s, "iam", "CreateAccessKey", false, json!({"userName": "olivia"}))),
                    (171, |s| {
                        let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
                        night(
                            s,
                            "iam",
                            "AttachUserPolicy",
                            false,
                            json!({"userName": "ci-deploy", "policyArn": policy}),
                        )
                    }),
                ],
            ),
            Self::Blinding => (
                at(2, 49),
                &[
                    (0, |s| {
                        let trail = format!("arn:aws:cloudtrail:{}:{}:trail/org-trail", s.region, s.account);
                        night(s, "cloudtrail", "StopLogging", false, json!({"name": trail}))
                    }),
                    (26, |s| {
                        night(
                            s,
                            "guardduty",
                            "DeleteDetector",
                            false,
                            json!({"detectorId": "12abc34d567e8fa901bc2d34e56789f0"}),
                        )
                    }),
                ],
            ),
            Self::NightDestruction => (
                at(2, 55),
                &[
                    (0, |s| night(s, "ec2", "DescribeInstances", true, Value::Null)),
                    (40, |s| terminate(s, "ci-deploy", NIGHT, TOOL, 2)),
                    (74, |s| terminate(s, "ci-deploy", NIGHT, TOOL, 1)),
                ],
            ),
            Self::OpenDoor => (at(10, 17), &[(0, open_door)]),
            Self::RootSignIn => (at(13, 5), &[(0, |s| sign_in(s, root(s.account), "198.51.100.77", true))]),
            Self::GuessedPassword => (
                at(16, 20),
                &[
                    (0, |s| sign_in(s, user("lena", s.account), EVENING, false)),
                    (9, |s| sign_in(s, user("lena", s.account), EVENING, false)),
                    (17, |s| sign_in(s, user("lena", s.account), EVENING, false)),
                    (30, |s| sign_in(s, user("lena", s.account), EVENING, false)),
                    (44, |s| sign_in(s, user("lena", s.account), EVENING, true)),
                ],
            ),
            Self::Exfiltration => (at(16, 31), &[(0, share_snapshot), (95, publish_bucket)]),
            Self::EveningDestruction => (at(18, 44), &[(0, |s| terminate(s, "lena", EVENING, BROWSER, 2))]),
        }
    }

    /// When each step happens, from the start of the day.
    pub(super) fn offsets(self) -> impl Iterator<Item = Duration> {
        let (start, steps) = self.script();
        steps.iter().map(move |(after, _)| Duration::from_secs(start + after))
    }

    /// The record of a step.
    pub(super) fn record(self, step: usize, scene: &Scene<'_>) -> (String, String) {
        let (_, steps) = self.script();
        (steps[step].1)(scene)
    }
}

fn act<'a>(service: &'a str, name: &'a str, identity: Value, address: &'a str, agent: &'a str) -> Act<'a> {
    Act {
        service,
        name,
        event_type: "AwsApiCall",
        identity,
        address,
        agent,
        reads: false,
        request: Value::Null,
        response: Value::Null,
        error: None,
        additional: None,
        resource: None,
    }
}

fn night(scene: &Scene<'_>, service: &str, name: &str, reads: bool, request: Value) -> (String, String) {
    let act = act(service, name, user("ci-deploy", scene.account), NIGHT, TOOL);
    scene.record(Act { reads, request, ..act })
}

fn terminate(scene: &Scene<'_>, name: &str, address: &str, agent: &str, count: usize) -> (String, String) {
    let ids: Vec<String> = (0..count).map(|_| scene.instance()).collect();
    let request: Vec<Value> = ids.iter().map(|id| json!({"instanceId": id})).collect();
    let response: Vec<Value> = ids
        .iter()
        .map(|id| {
            let (now, before) = (json!({"code": 32, "name": "shutting-down"}), json!({"code": 16, "name": "running"}));
            json!({"instanceId": id, "currentState": now, "previousState": before})
        })
        .collect();
    let act = act("ec2", "TerminateInstances", user(name, scene.account), address, agent);
    scene.record(Act {
        request: json!({"instancesSet": {"items": request}}),
        response: json!({"instancesSet": {"items": response}}),
        ..act
    })
}

fn open_door(scene: &Scene<'_>) -> (String, String) {
    let marcus = &PEOPLE[1];
    let act = act("ec2", "AuthorizeSecurityGroupIngress", user(marcus.name, scene.account), marcus.address, BROWSER);
    let range =
        json!({"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}});
    let request = json!({"groupId": "sg-0a1b2c3d4e5f60718", "ipPermissions": {"items": [range]}});
    scene.record(Act { request, response: json!({"_return": true}), ..act })
}

fn sign_in(scene: &Scene<'_>, identity: Value, address: &str, succeeds: bool) -> (String, String) {
    let act = act("signin", "ConsoleLogin", identity, address, BROWSER);
    scene.record(Act {
        event_type: "AwsConsoleSignIn",
        response: json!({"ConsoleLogin": if succeeds { "Success" } else { "Failure" }}),
        error: (!succeeds).then_some(("Failed authentication", "Failed authentication")),
        additional: Some(json!({
            "LoginTo": "https://console.aws.amazon.com/console/home", "MobileVersion": "No", "MFAUsed": "No",
        })),
        ..act
    })
}

fn share_snapshot(scene: &Scene<'_>) -> (String, String) {
    let act = act("ec2", "ModifySnapshotAttribute", user("lena", scene.account), EVENING, BROWSER);
    let request = json!({
        "snapshotId": "snap-0b7d9e1f2a3c4d5e6",
        "createVolumePermission": {"add": {"items": [{"userId": "999988887777"}]}},
        "attributeType": "CREATE_VOLUME_PERMISSION",
    });
    scene.record(Act { request, response: json!({"_return": true}), ..act })
}

fn publish_bucket(scene: &Scene<'_>) -> (String, String) {
    let act = act("s3", "PutBucketPolicy", user("lena", scene.account), EVENING, BROWSER);
    let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme-invoices/*"});
    scene.record(Act {
        request: json!({"bucketName": "acme-invoices", "bucketPolicy": {"Version": "2012-10-17", "Statement": [statement]}}),
        resource: Some(("arn:aws:s3:::acme-invoices".to_owned(), "AWS::S3::Bucket")),
        ..act
    })
}
