//! How a call names a function: by name, partial or full ARN, with or without a qualifier.

use base::{Arn, FunctionName, Scope};
use functions::Qualifier;
use wire::ServiceError;

use super::{failed, invalid, not_found};

/// A function of the caller's account and region.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub name: FunctionName,
    /// A version or an alias, when one was named.
    pub qualifier: Option<Qualifier>,
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
        (own, query) => own.or(query).map(str::parse::<Qualifier>).transpose().map_err(failed)?,
    };
    let resource = match &qualifier {
        None => format!("function:{name}"),
        Some(qualifier) => format!("function:{name}:{qualifier}"),
    };
    Ok(Address { arn: Arn::new("lambda", scope, resource), name, qualifier })
}

/// The same where a qualifier has no meaning.
pub(super) fn unqualified(scope: &Scope, text: &str) -> Result<Address, ServiceError> {
    let at = address(scope, text, None)?;
    if at.qualifier.is_some() {
        return Err(invalid(format!("{} names a version or an alias; name the function alone", at.arn)));
    }
    Ok(at)
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
        for (text, query) in [("f", Some("live")), ("f:live", None), ("f:live", Some("live"))] {
            let at = address(&scope(), text, query).unwrap();
            assert_eq!(at.arn.to_string(), "arn:aws:lambda:us-east-1:000000000000:function:f:live");
            assert!(unqualified(&scope(), &at.arn.to_string()).is_err());
        }
        assert_eq!(unqualified(&scope(), "f").unwrap().qualifier, None);
    }

    #[test]
    fn what_is_elsewhere_is_not_found_and_what_is_no_qualifier_refused() {
        for text in ["arn:aws:lambda:eu-west-1:000000000000:function:f", "111111111111:function:f"] {
            assert_eq!(address(&scope(), text, None).unwrap_err().code, "ResourceNotFoundException", "{text}");
        }
        assert_eq!(address(&scope(), "f:$LATEST", Some("7")).unwrap_err().code, "InvalidParameterValueException");
        assert_eq!(address(&scope(), "f:$OLDEST", None).unwrap_err().code, "InvalidParameterValueException");
        assert_eq!(address(&scope(), "arn:aws:sns:us-east-1:000000000000:t", None).unwrap_err().status, Some(400));
    }
}
