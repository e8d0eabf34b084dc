//! Which operation a request asks for: by its signature's service and the form of its protocol.

use bytes::Bytes;
use http::Request;

use crate::model::{Operation, Protocol, Service};
use crate::protocol::{labels, parameter};
use crate::{Encoding, ServiceError, ServiceId};

/// Why no operation was found.
#[derive(Debug, Clone)]
pub enum Unidentified {
    /// No service of this crate signs with that name.
    Service,
    /// The service has no such operation, or the request names none.
    Operation {
        /// The service that answers.
        service: ServiceId,
        /// Its answer.
        error: ServiceError,
    },
}

/// Finds the operation of a request whose signature names `signing_name`. It may be one that is not done.
pub fn identify(signing_name: &str, request: &Request<Bytes>) -> Result<&'static Operation, Unidentified> {
    let mut models = ServiceId::ALL.iter().map(|id| id.model());
    let service = models.find(|model| model.signing_name == signing_name).ok_or(Unidentified::Service)?;
    let found = match Encoding::of(request.headers()).protocol(service) {
        Protocol::AwsJson => by_target(service, request),
        Protocol::Query => by_action(service, request),
        Protocol::RestJson => by_path(service, request),
    };
    found.map_err(|error| Unidentified::Operation { service: service.id, error })
}

fn by_target(service: &Service, request: &Request<Bytes>) -> Result<&'static Operation, ServiceError> {
    if let Some(protocol) = request.headers().get("smithy-protocol") {
        // The seam for rpc-v2-cbor, which names the operation in the path.
        let message = format!("{} is spoken as awsJson here, not as {protocol:?}", service.name);
        return Err(ServiceError::new("UnsupportedMediaTypeException", message).with_status(415));
    }
    let mut targets = request.headers().get_all("x-amz-target").iter();
    let target = targets.next().and_then(|v| v.to_str().ok()).unwrap_or_default();
    if targets.next().is_some() {
        // A signature covers the values joined, so it would also fit another division of them.
        return Err(ServiceError::serialization(service.id, "X-Amz-Target must be there once"));
    }
    let Some((prefix, name)) = target.rsplit_once('.') else {
        return Err(ServiceError::unknown_operation(service.id, "named by its X-Amz-Target header"));
    };
    if prefix == service.target_prefix {
        return service.operation(name).ok_or_else(|| ServiceError::unknown_operation(service.id, name));
    }
    let mut models = ServiceId::ALL.iter().map(|id| id.model()).filter(|model| !model.target_prefix.is_empty());
    Err(match models.find(|model| model.target_prefix == prefix) {
        Some(other) => {
            let message = format!("Credential should be scoped to correct service: '{}'.", other.signing_name);
            ServiceError::new("InvalidSignatureException", message).with_status(400)
        }
        None => ServiceError::unknown_operation(service.id, target),
    })
}

fn by_action(service: &Service, request: &Request<Bytes>) -> Result<&'static Operation, ServiceError> {
    let Some(action) = parameter(request, "Action") else {
        return Err(ServiceError::new("MissingAction", "the request names no Action").with_status(400));
    };
    // A subscription's confirmation link names no version.
    let version_fits = parameter(request, "Version").is_none_or(|version| version == service.api_version);
    let found = service.operation(&action).filter(|_| version_fits);
    found.ok_or_else(|| ServiceError::unknown_operation(service.id, &action))
}

fn by_path(service: &Service, request: &Request<Bytes>) -> Result<&'static Operation, ServiceError> {
    let (method, path) = (request.method().as_str(), request.uri().path());
    let query = request.uri().query().unwrap_or_default();
    let asked = |fixed: &str| query.split('&').any(|pair| pair == fixed);
    let fits = |operation: &&'static Operation| {
        operation.method == method && labels(operation.uri, path).is_some() && fixed_query(operation).is_none_or(asked)
    };
    // A fixed query is closer than none, and a fixed word in a template is closer than a label in its place.
    let closeness = |operation: &&Operation| (fixed_query(operation).is_none(), operation.uri.matches('{').count());
    let found = service.operations.iter().filter(fits).min_by_key(closeness);
    found.ok_or_else(|| ServiceError::unknown_operation(service.id, &format!("{method} {path}")))
}

/// The query that some operations have in their template, which tells them from others of the same path.
fn fixed_query(operation: &Operation) -> Option<&'static str> {
    operation.uri.split_once('?').map(|(_, query)| query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_query_tells_operations_of_one_path_apart() {
        let named = |uri: &str| {
            let request = Request::get(uri).body(Bytes::new()).unwrap();
            identify("lambda", &request).unwrap().name
        };
        assert_eq!(named("/2018-10-31/layers"), "ListLayers");
        assert_eq!(named("/2018-10-31/layers?find=LayerVersion&Arn=a"), "GetLayerVersionByArn");
        assert_eq!(named("/2018-10-31/layers?Marker=find=LayerVersion"), "ListLayers");
    }
}
