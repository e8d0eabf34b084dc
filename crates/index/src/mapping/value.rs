//! From a JSON value to what is indexed, under a field's type.

use std::net::IpAddr;

use serde_json::Value;

use super::date::{Rounding, parse_date};
use super::fields::Kind;

/// A value in the form in which it is indexed, sorted and compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Keywords, text and addresses.
    Str(String),
    /// Integers and dates (milliseconds since the epoch).
    Int(i64),
    /// Floating point.
    Float(f64),
    /// Booleans.
    Bool(bool),
}

/// The text of a scalar JSON value; `None` for null, arrays and objects.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A scalar of a document under a field's type, or `None` when it does not fit.
pub fn document_value(kind: Kind, value: &Value) -> Option<Scalar> {
    match kind {
        Kind::Text | Kind::Keyword => scalar_text(value).map(Scalar::Str),
        Kind::Long | Kind::Integer | Kind::Short | Kind::Byte => integer(kind, value),
        Kind::Double | Kind::Float => float(value).map(Scalar::Float),
        Kind::Boolean => match value {
            Value::Bool(b) => Some(Scalar::Bool(*b)),
            Value::String(s) if s == "true" => Some(Scalar::Bool(true)),
            Value::String(s) if s == "false" || s.is_empty() => Some(Scalar::Bool(false)),
            _ => None,
        },
        Kind::Date => match value {
            Value::Number(n) => n.as_i64().map(Scalar::Int),
            Value::String(s) => parse_date(s, Rounding::Down).or_else(|| s.parse().ok()).map(Scalar::Int),
            _ => None,
        },
        Kind::Ip => value.as_str().and_then(|s| s.parse().ok()).map(|ip| Scalar::Str(ip_key(ip))),
        Kind::Object | Kind::Disabled => None,
    }
}

/// A value of a term query under a field's type: as in documents, but text is not cut and fractions do not round.
pub fn query_value(kind: Kind, value: &Value) -> Option<Scalar> {
    match (kind, value) {
        (Kind::Long | Kind::Integer | Kind::Short | Kind::Byte, value) => {
            let number = float(value)?;
            if number.fract() == 0.0 { integer(Kind::Long, value) } else { Some(Scalar::Float(number)) }
        }
        (kind, value) => document_value(kind, value),
    }
}

/// Integers are taken from numbers with a fraction too, cut toward zero (`coerce`).
fn integer(kind: Kind, value: &Value) -> Option<Scalar> {
    let whole = match value {
        Value::Number(n) => match n.as_i64() {
            Some(n) => n,
            None => cut(n.as_f64()?)?,
        },
        Value::String(s) => match s.parse() {
            Ok(n) => n,
            Err(_) => cut(finite(s)?)?,
        },
        _ => return None,
    };
    let (min, max) = kind.integer_range()?;
    (min..=max).contains(&whole).then_some(Scalar::Int(whole))
}

fn cut(number: f64) -> Option<i64> {
    // 2^63 is exact in a float; every float below it fits.
    (number.is_finite() && number.abs() < 9_223_372_036_854_775_808.0).then_some(number.trunc() as i64)
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64().filter(|n| n.is_finite()),
        Value::String(s) => finite(s),
        _ => None,
    }
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite())
}

/// An address as 32 hexadecimal digits, IPv4 mapped into IPv6: the order of the texts is that of the addresses.
pub fn ip_key(ip: IpAddr) -> String {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    format!("{:032x}", u128::from(v6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_fit_their_types_or_not() {
        let fits = |kind, value| document_value(kind, &value);
        assert_eq!(fits(Kind::Long, json!("17")), Some(Scalar::Int(17)));
        assert_eq!(fits(Kind::Long, json!(2.9)), Some(Scalar::Int(2)));
        assert_eq!(fits(Kind::Long, json!("AuthFailure")), None);
        assert_eq!(fits(Kind::Byte, json!(128)), None);
        assert_eq!(fits(Kind::Long, json!(1e300)), None);
        assert_eq!(fits(Kind::Double, json!("2.5")), Some(Scalar::Float(2.5)));
        assert_eq!(fits(Kind::Boolean, json!("true")), Some(Scalar::Bool(true)));
        assert_eq!(fits(Kind::Boolean, json!(1)), None);
        assert_eq!(fits(Kind::Date, json!("2023-07-10T00:00:00Z")), Some(Scalar::Int(1_688_947_200_000)));
        assert_eq!(fits(Kind::Date, json!("yesterday")), None);
        assert_eq!(fits(Kind::Keyword, json!(5)), Some(Scalar::Str("5".into())));
        assert_eq!(fits(Kind::Ip, json!("10.0.0.256")), None);
        assert!(ip_key("9.0.0.0".parse().unwrap()) < ip_key("10.0.0.0".parse().unwrap()));
        assert_eq!(query_value(Kind::Long, &json!(2.9)), Some(Scalar::Float(2.9)));
    }
}
