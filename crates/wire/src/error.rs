//! Errors as the services give them, and the one table from kinds to codes.

use std::borrow::Cow;

use base::{ErrorKind, Kinded};

use crate::ServiceId;
use crate::model::Protocol;

/// An error answer: a code, its HTTP status and a message for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ServiceError {
    /// The code, such as `ResourceNotFoundException`. A shape's name stands for its code (`NotFoundException` for
    /// SNS's `NotFound`).
    pub code: Cow<'static, str>,
    /// For the caller.
    pub message: String,
    /// The HTTP status; when absent, that of the service's model, else 400.
    pub status: Option<u16>,
    /// Which limit was met, where the service's error says so by name, and the seconds after which to try again.
    pub throttle: Option<(&'static str, u32)>,
}

impl ServiceError {
    /// An error with the status that the service's model gives its code.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: None, throttle: None }
    }

    /// The same with this HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The same with the name of the limit that was met, and the seconds after which to try again.
    #[must_use]
    pub fn throttled_by(mut self, reason: &'static str, after_secs: u32) -> Self {
        self.throttle = Some((reason, after_secs));
        self
    }

    /// The service's error for a failure of ours, by its kind, with its message and those of its sources.
    pub fn from_kinded(service: ServiceId, error: &dyn Kinded) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::of_kind(service, error.kind(), message)
    }

    /// The service's error of this kind.
    pub fn of_kind(service: ServiceId, kind: ErrorKind, message: impl Into<String>) -> Self {
        let (code, status) = code(service, kind);
        Self::new(code, message).with_status(status)
    }

    /// Constraints of the model are violated.
    pub fn validation(service: ServiceId, message: impl Into<String>) -> Self {
        let code = match (service, service.model().protocol) {
            // Its model has no other constraint than that a member must be there.
            (ServiceId::Sqs, _) => "MissingParameter",
            (_, Protocol::Query) => "ValidationError",
            (_, Protocol::AwsJson | Protocol::RestJson) => "ValidationException",
        };
        Self::new(code, message).with_status(400)
    }

    /// The request is not what its protocol says, or a value is not of its member's type.
    pub fn serialization(service: ServiceId, message: impl Into<String>) -> Self {
        let code = match service.model().protocol {
            Protocol::Query => "MalformedInput",
            Protocol::AwsJson | Protocol::RestJson => "SerializationException",
        };
        Self::new(code, message).with_status(400)
    }

    /// The service has the operation, Tidegate does not. 501 because no SDK takes it for a passing failure: they try
    /// 500, 502, 503 and 504 again.
    pub fn not_done(service: ServiceId, operation: &str) -> Self {
        let name = service.model().name;
        Self::new("NotImplemented", format!("{operation} of {name} is not available in this version of Tidegate"))
            .with_status(501)
    }

    /// The service has no such operation.
    pub fn unknown_operation(service: ServiceId, operation: &str) -> Self {
        let model = service.model();
        match model.protocol {
            Protocol::Query => Self::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version {}", model.api_version),
            )
            .with_status(400),
            Protocol::AwsJson => {
                Self::new("UnknownOperationException", format!("{} has no operation {operation}", model.name))
                    .with_status(400)
            }
            Protocol::RestJson => {
                Self::new("UnknownOperationException", format!("{} has no operation {operation}", model.name))
                    .with_status(404)
            }
        }
    }
}

/// The table: what each service calls each kind of failure. Codes and statuses are those of the services' API
/// references and their "Common Errors" pages.
fn code(service: ServiceId, kind: ErrorKind) -> (&'static str, u16) {
    use ErrorKind::{Conflict, Corrupt, Denied, Internal, Invalid, NotFound, Throttled, Unavailable};
    match service {
        ServiceId::Kinesis => match kind {
            Invalid => ("InvalidArgumentException", 400),
            NotFound => ("ResourceNotFoundException", 400),
            Conflict => ("ResourceInUseException", 400),
            Throttled => ("ProvisionedThroughputExceededException", 400),
            Denied => ("AccessDeniedException", 400),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalFailureException", 500),
        },
        ServiceId::Events => match kind {
            Invalid => ("ValidationException", 400),
            NotFound => ("ResourceNotFoundException", 400),
            Conflict => ("ResourceAlreadyExistsException", 400),
            Throttled => ("ThrottlingException", 400),
            Denied => ("AccessDeniedException", 400),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalException", 500),
        },
        ServiceId::Lambda => match kind {
            Invalid => ("InvalidParameterValueException", 400),
            NotFound => ("ResourceNotFoundException", 404),
            Conflict => ("ResourceConflictException", 409),
            Throttled => ("TooManyRequestsException", 429),
            Denied => ("AccessDeniedException", 403),
            Unavailable => ("ServiceUnavailableException", 503),
            Corrupt | Internal => ("ServiceException", 500),
        },
        ServiceId::Scheduler => match kind {
            Invalid => ("ValidationException", 400),
            NotFound => ("ResourceNotFoundException", 404),
            Conflict => ("ConflictException", 409),
            Throttled => ("ThrottlingException", 429),
            Denied => ("AccessDeniedException", 403),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalServerException", 500),
        },
        ServiceId::Sns => match kind {
            Invalid | Conflict => ("InvalidParameter", 400),
            NotFound => ("NotFound", 404),
            Throttled => ("Throttled", 429),
            Denied => ("AuthorizationError", 403),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalError", 500),
        },
        ServiceId::Sqs => match kind {
            Invalid | Conflict => ("InvalidParameterValue", 400),
            NotFound => ("QueueDoesNotExist", 400),
            Throttled => ("RequestThrottled", 400),
            Denied => ("AccessDenied", 403),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalFailure", 500),
        },
        ServiceId::Firehose => match kind {
            Invalid => ("InvalidArgumentException", 400),
            NotFound => ("ResourceNotFoundException", 400),
            Conflict => ("ResourceInUseException", 400),
            Denied => ("AccessDeniedException", 400),
            // What Firehose says to a caller above its throughput, too.
            Throttled | Unavailable => ("ServiceUnavailableException", 500),
            Corrupt | Internal => ("InternalFailure", 500),
        },
        ServiceId::Iam => match kind {
            Invalid => ("ValidationError", 400),
            NotFound => ("NoSuchEntity", 404),
            Conflict => ("EntityAlreadyExists", 409),
            Throttled => ("Throttling", 400),
            Denied => ("AccessDenied", 403),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("ServiceFailure", 500),
        },
        ServiceId::Cloudtrail => match kind {
            Invalid => ("InvalidParameterCombinationException", 400),
            NotFound => ("ResourceNotFoundException", 400),
            Conflict => ("ConflictException", 400),
            Throttled => ("ThrottlingException", 400),
            Denied => ("AccessDeniedException", 400),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalFailure", 500),
        },
        ServiceId::Sts => match kind {
            Invalid | NotFound | Conflict => ("ValidationError", 400),
            Throttled => ("Throttling", 400),
            Denied => ("AccessDenied", 403),
            Unavailable => ("ServiceUnavailable", 503),
            Corrupt | Internal => ("InternalFailure", 500),
        },
    }
}
