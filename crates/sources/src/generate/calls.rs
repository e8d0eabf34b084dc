//! What is called in everyday work.

use base::Rng;

use super::weighted;

/// A call of an API.
#[derive(Debug)]
pub(super) struct Call {
    /// The service's host, without `.amazonaws.com`.
    pub service: &'static str,
    pub name: &'static str,
    pub reads: bool,
    /// What it is about.
    pub about: About,
    /// How often people and machines make it, in proportion.
    weights: (u64, u64),
}

/// The kind of thing that a call names in its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Nothing,
    Instance,
    Bucket,
    Function,
    User,
    Role,
    Key,
    Secret,
    Parameter,
    LogGroup,
    Stack,
    Table,
}

const fn read(service: &'static str, name: &'static str, about: About, people: u64, machines: u64) -> Call {
    Call { service, name, reads: true, about, weights: (people, machines) }
}

const fn write(service: &'static str, name: &'static str, about: About, people: u64, machines: u64) -> Call {
    Call { service, name, reads: false, about, weights: (people, machines) }
}

const CALLS: [Call; 34] = [
    read("ec2", "DescribeInstances", About::Nothing, 20, 18),
    read("ec2", "DescribeSecurityGroups", About::Nothing, 8, 8),
    read("ec2", "DescribeVolumes", About::Nothing, 5, 6),
    read("ec2", "DescribeSnapshots", About::Nothing, 3, 5),
    read("s3", "ListBuckets", About::Nothing, 8, 2),
    read("s3", "GetBucketPolicy", About::Bucket, 4, 4),
    read("s3", "GetBucketEncryption", About::Bucket, 3, 4),
    read("iam", "ListUsers", About::Nothing, 4, 2),
    read("iam", "GetUser", About::User, 6, 1),
    read("iam", "ListAttachedRolePolicies", About::Role, 3, 4),
    read("sts", "GetCallerIdentity", About::Nothing, 9, 12),
    read("sts", "AssumeRole", About::Role, 2, 14),
    read("kms", "Decrypt", About::Key, 1, 18),
    read("kms", "GenerateDataKey", About::Key, 0, 7),
    read("secretsmanager", "GetSecretValue", About::Secret, 1, 10),
    read("ssm", "GetParameter", About::Parameter, 1, 12),
    read("lambda", "ListFunctions20150331", About::Nothing, 5, 1),
    read("lambda", "GetFunction20150331v2", About::Function, 5, 2),
    read("logs", "DescribeLogGroups", About::Nothing, 5, 1),
    read("cloudformation", "DescribeStacks", About::Stack, 5, 5),
    read("monitoring", "DescribeAlarms", About::Nothing, 4, 3),
    read("dynamodb", "DescribeTable", About::Table, 2, 4),
    write("ec2", "RunInstances", About::Instance, 2, 2),
    write("ec2", "StartInstances", About::Instance, 2, 1),
    write("ec2", "StopInstances", About::Instance, 2, 1),
    write("ec2", "CreateTags", About::Instance, 3, 4),
    write("ec2", "CreateSnapshot", About::Nothing, 1, 4),
    write("s3", "PutBucketTagging", About::Bucket, 1, 1),
    write("lambda", "UpdateFunctionCode20150331v2", About::Function, 3, 5),
    write("logs", "CreateLogStream", About::LogGroup, 0, 14),
    write("ssm", "PutParameter", About::Parameter, 1, 2),
    write("cloudformation", "UpdateStack", About::Stack, 1, 2),
    write("iam", "TagRole", About::Role, 1, 1),
    write("secretsmanager", "RotateSecret", About::Secret, 0, 1),
];

impl Call {
    pub fn any(by_person: bool, rng: &dyn Rng) -> &'static Self {
        static ALL: [Call; 34] = CALLS;
        let weights = ALL.each_ref().map(|call| if by_person { call.weights.0 } else { call.weights.1 });
        let index = usize::try_from(weighted(&weights, rng)).unwrap_or(0);
        &ALL[index]
    }
}
