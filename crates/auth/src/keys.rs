//! The condition keys that mean something here, as data: for those who fill a request's context, and who explain it.
//!
//! "AWS global condition context keys" (IAM User Guide), and the services' pages in the Service Authorization
//! Reference. A policy may name other keys: they are absent from every request, and conditions see them so.

/// What the values of a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Text.
    String,
    /// The name of a resource or an identity.
    Arn,
    /// A decimal number.
    Numeric,
    /// A point in time.
    Date,
    /// `true` or `false`.
    Bool,
    /// An address.
    Ip,
}

/// A condition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name; one that ends with `/` has a tag's key behind it.
    pub name: &'static str,
    /// What its values are.
    pub value_type: ValueType,
    /// Whether a request may have several, so that conditions need a set operator.
    pub several: bool,
    /// When it is there, and what it says.
    pub about: &'static str,
}

/// The key of a name, in any case.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let tagged = key.name.ends_with('/') && name.len() > key.name.len();
        let head = if tagged { name.get(..key.name.len()) } else { Some(name) };
        head.is_some_and(|head| head.eq_ignore_ascii_case(key.name)) && tagged == key.name.ends_with('/')
    })
}

const fn one(name: &'static str, value_type: ValueType, about: &'static str) -> Key {
    Key { name, value_type, several: false, about }
}

const fn many(name: &'static str, value_type: ValueType, about: &'static str) -> Key {
    Key { name, value_type, several: true, about }
}

use ValueType::{Arn, Bool, Date, Ip, Numeric, String};

const KEYS: &[Key] = &[
    // The caller.
    one("aws:PrincipalArn", Arn, "an identity's ARN; a session's is its role's"),
    one("aws:PrincipalAccount", String, "the account of the caller"),
    one("aws:PrincipalType", String, "Account, User, AssumedRole, Service or Anonymous"),
    one("aws:PrincipalTag/", String, "a tag of the user, the role or the session"),
    one("aws:PrincipalIsAWSService", Bool, "whether a service calls for itself"),
    one("aws:PrincipalServiceName", String, "the service, when one calls for itself"),
    one("aws:userid", String, "the unique id of the caller; a session's is its role's, a colon and its name"),
    one("aws:username", String, "a user's name; nobody else has one"),
    one("aws:TokenIssueTime", Date, "when temporary keys were issued; absent with others"),
    one("aws:MultiFactorAuthPresent", Bool, "false with temporary keys; absent with others"),
    // The network.
    one("aws:SourceIp", Ip, "where the call comes from; absent when a service calls for somebody"),
    one("aws:SecureTransport", Bool, "whether the call came over TLS"),
    one("aws:UserAgent", String, "the client's word about itself"),
    one("aws:Referer", String, "the page's address that a browser sends"),
    // The request.
    one("aws:CurrentTime", Date, "now"),
    one("aws:EpochTime", Date, "now, in seconds since 1970"),
    one("aws:RequestedRegion", String, "the region that is called"),
    one("aws:RequestTag/", String, "a tag that the call sets"),
    many("aws:TagKeys", String, "the keys of the tags that the call sets or removes"),
    one("aws:SourceArn", Arn, "the resource for which a service calls"),
    one("aws:SourceAccount", String, "the account of the resource for which a service calls"),
    one("aws:ViaAWSService", Bool, "whether a service calls with the rights of somebody"),
    many("aws:CalledVia", String, "the services that called for somebody, the first one first"),
    one("aws:CalledViaFirst", String, "the first of them"),
    one("aws:CalledViaLast", String, "the last of them"),
    // The resource.
    one("aws:ResourceTag/", String, "a tag of the resource"),
    one("aws:ResourceAccount", String, "the account of the resource"),
    // Services.
    one("events:detail-type", String, "PutEvents: the event's detail type"),
    one("events:source", String, "PutEvents, PutRule: the event's source"),
    one("events:TargetArn", Arn, "PutTargets: the target"),
    one("events:creatorAccount", String, "rules: who made it"),
    one("iam:AWSServiceName", String, "service-linked roles: the service"),
    one("iam:PassedToService", String, "PassRole: the service that gets the role"),
    one("iam:AssociatedResourceArn", Arn, "PassRole: the resource that gets the role"),
    one("iam:PermissionsBoundary", Arn, "the boundary that a user or role is given"),
    one("iam:PolicyARN", Arn, "the policy that is attached or detached"),
    one("iam:ResourceTag/", String, "a tag of the user or role"),
    one("lambda:EventSourceToken", String, "the token of an Alexa skill"),
    one("lambda:FunctionArn", Arn, "event-source mappings: their function"),
    one("lambda:FunctionUrlAuthType", String, "function URLs: NONE or AWS_IAM"),
    many("lambda:Layer", String, "the layer versions of a function"),
    one("lambda:Principal", String, "AddPermission: who is let in"),
    one("lambda:SourceFunctionArn", Arn, "the function whose code calls"),
    one("kinesis:consumer-arn", Arn, "SubscribeToShard: the consumer"),
    one("logs:LogGeneratingResourceArns", Arn, "log deliveries: the sources"),
    one("s3:max-keys", Numeric, "ListBucket: how many keys are asked for"),
    one("s3:prefix", String, "ListBucket: with what the keys begin"),
    one("s3:delimiter", String, "ListBucket: where keys are cut"),
    one("sns:Endpoint", String, "Subscribe: where messages go"),
    one("sns:Protocol", String, "Subscribe: how messages go"),
    one("sts:ExternalId", String, "AssumeRole: what the owner of the role asked for"),
    one("sts:RoleSessionName", String, "AssumeRole: the session's name"),
    many("sts:TransitiveTagKeys", String, "AssumeRole: the tags that the next session keeps"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_any_case_and_with_their_tags() {
        assert_eq!(key("AWS:sourcearn").map(|key| key.name), Some("aws:SourceArn"));
        assert_eq!(key("aws:principaltag/Team").map(|key| key.name), Some("aws:PrincipalTag/"));
        assert!(key("aws:TagKeys").is_some_and(|key| key.several));
        for unknown in ["aws:PrincipalTag/", "aws:PrincipalTag", "aws:SourceArn/x", "", "aws:PrincipalTagé"] {
            assert_eq!(key(unknown), None, "{unknown}");
        }
    }
}
