//! What a delivery stream may: it reads its source, writes to its domain and to its bucket with the roles of its owner.
//!
//! Owns which permissions that takes ("Controlling access with Amazon Data Firehose", Firehose Developer Guide). Must not
//! know what becomes of what may not be delivered.

use base::{Arn, Scope};

use super::config::{DeliveryStream, delivery_arn};
use crate::FlowError;
use crate::roles::{Acting, Denial, Roles};

/// Who assumes the roles of delivery streams.
const SERVICE: &str = "firehose.amazonaws.com";
/// On the stream that is read.
const READS: [&str; 3] = ["kinesis:DescribeStream", "kinesis:GetShardIterator", "kinesis:GetRecords"];

/// What one delivery stream may.
pub(super) struct Permissions {
    roles: Roles,
    own: Arn,
    source: Option<(Arn, Arn)>,
    domain: Arn,
    role: Arn,
    bucket: String,
    bucket_role: Arn,
}

impl Permissions {
    pub fn new(scope: &Scope, stream: &DeliveryStream, roles: &Roles) -> Self {
        let to = &stream.destination;
        Self {
            roles: roles.clone(),
            own: delivery_arn(scope, &stream.name),
            source: stream.source.clone().zip(stream.source_role.clone()),
            domain: to.domain.clone(),
            role: to.role.clone(),
            bucket: to.bucket.to_string(),
            bucket_role: to.bucket_role.clone(),
        }
    }

    fn acting<'a>(&'a self, role: &'a Arn) -> Acting<'a> {
        let session = self.own.resource_of("deliverystream").unwrap_or_default();
        Acting { service: SERVICE, role, session, source: &self.own }
    }

    /// Whether the source may be read now, if there is one.
    pub fn read(&self) -> Result<(), Denial> {
        let Some((stream, role)) = &self.source else { return Ok(()) };
        READS.iter().try_for_each(|action| self.roles.permit(&self.acting(role), action, stream))
    }

    /// Whether documents may be written to the domain now.
    pub fn index(&self) -> Result<(), Denial> {
        let bulk = self.domain.scope().map(|scope| Arn::new("es", &scope, format!("{}/_bulk", self.domain.resource())));
        let bulk = bulk.unwrap_or_else(|| self.domain.clone());
        self.roles.permit(&self.acting(&self.role), "es:ESHttpPost", &bulk)
    }

    /// Whether an object may be written to the bucket now.
    pub fn back_up(&self, object: &str) -> Result<(), Denial> {
        let Ok(object) = format!("arn:aws:s3:::{}/{object}", self.bucket).parse::<Arn>() else { return Ok(()) };
        self.roles.permit(&self.acting(&self.bucket_role), "s3:PutObject", &object)
    }

    /// Refuses roles that could not be used.
    pub fn check(&self) -> Result<(), FlowError> {
        let roles = [Some(&self.role), Some(&self.bucket_role), self.source.as_ref().map(|(_, role)| role)];
        roles.into_iter().flatten().try_for_each(|role| {
            let refused = |_| format!("Firehose is unable to assume role {role}. Please check the role provided.");
            self.roles.assume(&self.acting(role)).map_err(refused).map_err(FlowError::Invalid)
        })
    }
}
