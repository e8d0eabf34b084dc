//! Ranges: ends as written → bounds in the form in which a field's values are indexed.

use std::ops::Bound;

use serde_json::Value;

use super::ast::Ends;
use crate::mapping::{Kind, Rounding, Scalar, ip_key, resolve_date_math, scalar_text};

/// Bounds of a range, or that nothing can be in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Bounds {
    /// No value can match.
    Empty,
    /// These.
    Between(Bound<Scalar>, Bound<Scalar>),
}

/// The bounds on a field of type `kind`; an error names the value that is none of its type.
pub fn bounds(kind: Kind, ends: &Ends, now_ms: i64) -> Result<Bounds, String> {
    match kind {
        Kind::Long | Kind::Integer | Kind::Short | Kind::Byte => integers(ends),
        Kind::Double | Kind::Float => {
            let end = |end: &Option<(Value, bool)>| convert(end, |v| float(v).map(Scalar::Float));
            Ok(Bounds::Between(end(&ends.lower)?, end(&ends.upper)?))
        }
        Kind::Date => dates(ends, now_ms),
        Kind::Ip => {
            let address = |v: &Value| v.as_str().and_then(|s| s.parse().ok()).map(|ip| Scalar::Str(ip_key(ip)));
            Ok(Bounds::Between(convert(&ends.lower, address)?, convert(&ends.upper, address)?))
        }
        Kind::Keyword => {
            let text = |v: &Value| scalar_text(v).map(Scalar::Str);
            Ok(Bounds::Between(convert(&ends.lower, text)?, convert(&ends.upper, text)?))
        }
        Kind::Boolean | Kind::Object | Kind::Disabled => Ok(Bounds::Empty),
        Kind::Text => Err("a range on a text field is not supported; use its keyword field".into()),
    }
}

fn convert(end: &Option<(Value, bool)>, read: impl Fn(&Value) -> Option<Scalar>) -> Result<Bound<Scalar>, String> {
    let Some((value, included)) = end else { return Ok(Bound::Unbounded) };
    let scalar = read(value).ok_or_else(|| no_value(value))?;
    Ok(if *included { Bound::Included(scalar) } else { Bound::Excluded(scalar) })
}

fn no_value(value: &Value) -> String {
    let shown: String = scalar_text(value).unwrap_or_default().chars().take(100).collect();
    format!("For input string: \"{shown}\"")
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

/// An end as an integer: exact when it is one, else the float that it is.
fn whole(value: &Value) -> Option<Result<i64, f64>> {
    let exact = match value {
        Value::Number(n) => n.as_i64(),
        Value::String(s) => s.parse().ok(),
        _ => return None,
    };
    exact.map_or_else(|| float(value).map(Err), |n| Some(Ok(n)))
}

/// Integer ends always included: `gt 1.5` is `gte 2`.
fn integers(ends: &Ends) -> Result<Bounds, String> {
    // 2^63: floats beyond lie outside of every integer.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let mut lower = Bound::Unbounded;
    if let Some((value, included)) = &ends.lower {
        let least = match whole(value).ok_or_else(|| no_value(value))? {
            Ok(n) if *included => Some(n),
            Ok(n) => n.checked_add(1),
            Err(f) if f >= LIMIT => None,
            Err(f) if f < -LIMIT => Some(i64::MIN),
            Err(f) if f.fract() == 0.0 && !included => Some(f as i64 + 1),
            Err(f) => Some(f.ceil() as i64),
        };
        let Some(least) = least else { return Ok(Bounds::Empty) };
        lower = Bound::Included(Scalar::Int(least));
    }
    let mut upper = Bound::Unbounded;
    if let Some((value, included)) = &ends.upper {
        let most = match whole(value).ok_or_else(|| no_value(value))? {
            Ok(n) if *included => Some(n),
            Ok(n) => n.checked_sub(1),
            Err(f) if f < -LIMIT => None,
            Err(f) if f >= LIMIT => Some(i64::MAX),
            Err(f) if f.fract() == 0.0 && !included => (f as i64).checked_sub(1),
            Err(f) => Some(f.floor() as i64),
        };
        let Some(most) = most else { return Ok(Bounds::Empty) };
        upper = Bound::Included(Scalar::Int(most));
    }
    Ok(Bounds::Between(lower, upper))
}

fn dates(ends: &Ends, now_ms: i64) -> Result<Bounds, String> {
    let read = |end: &Option<(Value, bool)>, rounding| -> Result<Bound<Scalar>, String> {
        convert(end, |value| match value {
            Value::Number(n) => n.as_i64().map(Scalar::Int),
            Value::String(s) => resolve_date_math(s, now_ms, rounding).map(Scalar::Int),
            _ => None,
        })
        .map_err(|_| {
            let shown: String =
                end.as_ref().map(|(v, _)| v.to_string()).unwrap_or_default().chars().take(100).collect();
            format!("failed to parse date field [{shown}] with format [strict_date_optional_time||epoch_millis]")
        })
    };
    // "Missing date components" in the page "Range query": gt and lte take the end of what is left out.
    let round = |end: &Option<(Value, bool)>, up_when: bool| {
        if end.as_ref().is_some_and(|(_, included)| *included == up_when) { Rounding::Up } else { Rounding::Down }
    };
    let lower = read(&ends.lower, round(&ends.lower, false))?;
    let upper = read(&ends.upper, round(&ends.upper, true))?;
    Ok(Bounds::Between(lower, upper))
}

/// The first and the last address of a network such as `10.0.0.0/8`, as they are indexed.
pub fn network(text: &str) -> Option<(Scalar, Scalar)> {
    let (address, bits) = text.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    let (number, width) = match address {
        std::net::IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), 32),
        std::net::IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    if bits > width {
        return None;
    }
    let host = width - bits;
    let mask = if host == 128 { u128::MAX } else { (1u128 << host) - 1 };
    let key = |n: u128| Scalar::Str(format!("{n:032x}"));
    Some((key(number & !mask), key(number | mask)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integer_ends() {
        let at = |gt: Value, lte: Value| {
            bounds(Kind::Long, &Ends { lower: Some((gt, false)), upper: Some((lte, true)) }, 0).unwrap()
        };
        let between = |a, b| Bounds::Between(Bound::Included(Scalar::Int(a)), Bound::Included(Scalar::Int(b)));
        assert_eq!(at(json!(1), json!(5)), between(2, 5));
        assert_eq!(at(json!(1.5), json!("5.9")), between(2, 5));
        assert_eq!(at(json!(1.0), json!(1e30)), between(2, i64::MAX));
        assert_eq!(at(json!(i64::MAX), json!(5)), Bounds::Empty);
        assert_eq!(at(json!(1e30), json!(5)), Bounds::Empty);
        assert!(bounds(Kind::Long, &Ends { lower: Some((json!("x"), true)), upper: None }, 0).is_err());
    }

    #[test]
    fn networks() {
        let (first, last) = network("10.1.0.0/16").unwrap();
        assert_eq!(first, Scalar::Str(ip_key("10.1.0.0".parse().unwrap())));
        assert_eq!(last, Scalar::Str(ip_key("10.1.255.255".parse().unwrap())));
        assert!(network("10.1.0.0/33").is_none());
        assert!(network("::/0").is_some());
    }
}
