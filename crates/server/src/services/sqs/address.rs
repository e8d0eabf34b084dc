//! How queues are addressed: `http(s)://HOST/ACCOUNT/NAME`.
//!
//! The host is not looked at: whatever name the server is reached by, the queue is the same.

use base::{Arn, QueueName, Scope};
use wire::{Call, ServiceError};

use super::{invalid, no_queue};

/// The URL of a queue, at the address that the caller called.
pub(super) fn url(call: &Call, name: &QueueName) -> String {
    format!("{}/{}/{name}", call.endpoint, call.scope.account)
}

/// The queue that a URL, or the path of one, names.
pub(super) fn queue(call: &Call, url: &str) -> Result<QueueName, ServiceError> {
    let refused = || ServiceError::new("InvalidAddress", format!("The address {url} is not valid for this endpoint."));
    let mut parts = url.rsplitn(3, '/');
    let (name, account, host) = (parts.next(), parts.next(), parts.next());
    let (Some(name), Some(account), Some(_)) = (name, account, host) else { return Err(refused()) };
    let name = name.parse().map_err(|_| refused())?;
    // Queues of other accounts need policies.
    if account != call.scope.account.as_str() {
        return Err(no_queue());
    }
    Ok(name)
}

/// The error of a parameter whose ARN is no queue's.
pub(super) fn no_queue_for(parameter: &str) -> ServiceError {
    let message = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
    ServiceError::new("ResourceNotFoundException", message)
}

/// The ARN of a queue of this account and region, that a parameter gives.
pub(super) fn arn(scope: &Scope, parameter: &str, text: &str) -> Result<Arn, ServiceError> {
    let arn: Arn = text.parse().map_err(|_| invalid(format!("'{text}' is not the ARN of a queue.")))?;
    let here = flow::queue::queue_of(&arn).is_some_and(|(of, _)| of == *scope);
    here.then_some(arn).ok_or_else(|| no_queue_for(parameter))
}
