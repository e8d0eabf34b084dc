//! How a call names a function: by name, partial or full ARN, with or without a qualifier.

use base::{Arn, FunctionName, Scope};
use wire::ServiceError;

use super::{invalid, not_found};

/// The one version that functions have so far.
pub(super) const LATEST: &str = "$LATEST";

/// A function of the caller's account and region.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub name: FunctionName,
    /// As it was called: with its qualifier, when one was named.
    pub arn: Arn,
}

/// Reads `NAME`, `NAME:QUALIFIER`, `ACCOUNT:function:NAME…` or a full ARN. `qualifier` is that of the query.
pub(super) fn address(scope: &Scope, text: &str, qualifier: Option<&str>) -> Result<Address, ServiceError> {
    let resource = if text.starts_with("arn:") {
        let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
        let Some(resource) = arn.resource_of("function").filter(|_| arn.service() == "lambda") else {
            return Err(invalid(format!("{arn} is not the ARN of a function")));
        };
        if arn.scope().as_ref() != Some(scope) {
            return Err(not_found(&arn));
        }
        resource.to_owned()
    } else if let Some((account, resource)) = text.split_once(":function:") {
        if account != scope.account.as_str() {
            return Err(not_found(&Arn::new("lambda", scope, format!("function:{resource}"))));
        }
        resource.to_owned()
    } else {
        text.strip_prefix("function:").unwrap_or(text).to_owned()
    };
    let (name, own) = match resource.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (resource.as_str(), None),
    };
    let name: FunctionName = name.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
    let qualifier = match (own, qualifier) {
        (Some(a), Some(b)) if a != b => {
            return Err(invalid(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        (own, query) => own.or(query),
    };
    let unqualified = format!("function:{name}");
    match qualifier {
        None => Ok(Address { arn: Arn::new("lambda", scope, unqualified), name }),
        Some(qualifier) => {
            let arn = Arn::new("lambda", scope, format!("{unqualified}:{qualifier}"));
            if qualifier == LATEST { Ok(Address { name, arn }) } else { Err(not_found(&arn)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
    }

    #[test]
    fn every_way_to_name_a_function_is_understood() {
        for text in [
            "f",
            "function:f",
            "000000000000:function:f",
            "arn:aws:lambda:us-east-1:000000000000:function:f",
            "f:$LATEST",
            "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
        ] {
            assert_eq!(address(&scope(), text, None).unwrap().name.as_str(), "f", "{text}");
        }
        let at = address(&scope(), "f", Some("$LATEST")).unwrap();
        assert_eq!(at.arn.to_string(), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
    }

    #[test]
    fn what_is_elsewhere_or_of_another_version_is_not_found() {
        for (text, qualifier) in [
            ("arn:aws:lambda:eu-west-1:000000000000:function:f", None),
            ("111111111111:function:f", None),
            ("f:7", None),
            ("f", Some("prod")),
        ] {
            let error = address(&scope(), text, qualifier).unwrap_err();
            assert_eq!(error.code, "ResourceNotFoundException", "{text}");
        }
        assert_eq!(address(&scope(), "f:$LATEST", Some("7")).unwrap_err().code, "InvalidParameterValueException");
        assert_eq!(address(&scope(), "arn:aws:sns:us-east-1:000000000000:t", None).unwrap_err().status, Some(400));
    }
}
