//! Reading scalars from JSON. Type errors read as the services' own parser words them:
//! `NUMBER_VALUE cannot be converted to String`.

use std::fmt;
use std::marker::PhantomData;

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::data::Decode;

/// A JSON scalar.
enum Token<'a> {
    Str(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Token<'_> {
    fn refuse<T>(&self, wanted: &str) -> Result<T, String> {
        let name = match self {
            Self::Str(_) => "STRING_VALUE",
            Self::Int(_) | Self::Float(_) => "NUMBER_VALUE",
            Self::Bool(true) => "TRUE_VALUE",
            Self::Bool(false) => "FALSE_VALUE",
        };
        Err(format!("{name} cannot be converted to {wanted}"))
    }
}

trait Scalar: Sized {
    fn from_token(token: Token<'_>) -> Result<Self, String>;
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<T, E> {
        T::from_token(Token::Str(v)).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<T, E> {
        T::from_token(Token::Int(v)).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<T, E> {
        let token = i64::try_from(v).map_or(Token::Float(v as f64), Token::Int);
        T::from_token(token).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<T, E> {
        T::from_token(Token::Float(v)).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<T, E> {
        T::from_token(Token::Bool(v)).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom("Start of list found where not expected"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom("Start of structure or map found where not expected."))
    }
}

macro_rules! scalar {
    ($ty:ty, |$token:ident| $read:expr) => {
        impl Scalar for $ty {
            fn from_token($token: Token<'_>) -> Result<Self, String> {
                $read
            }
        }

        impl Decode for $ty {
            fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ScalarVisitor(PhantomData))
            }
        }
    };
}

scalar!(String, |token| match token {
    Token::Str(v) => Ok(v.to_owned()),
    other => other.refuse("String"),
});
scalar!(i64, |token| match token {
    Token::Int(v) => Ok(v),
    // 1.0 and 1e3 are whole numbers to the services; a real fraction is refused rather than cut.
    Token::Float(v) if v.fract() == 0.0 && v.abs() < 9.0e15 => Ok(v as i64),
    other => other.refuse("Long"),
});
scalar!(i32, |token| match token {
    Token::Str(_) | Token::Bool(_) => token.refuse("Integer"),
    number => {
        let wide = i64::from_token(number).map_err(|_| "NUMBER_VALUE cannot be converted to Integer".to_owned())?;
        i32::try_from(wide).map_err(|_| "NUMBER_VALUE cannot be converted to Integer".to_owned())
    }
});
scalar!(f64, |token| match token {
    Token::Int(v) => Ok(v as f64),
    Token::Float(v) => Ok(v),
    Token::Str("NaN") => Ok(f64::NAN),
    Token::Str("Infinity") => Ok(f64::INFINITY),
    Token::Str("-Infinity") => Ok(f64::NEG_INFINITY),
    other => other.refuse("Double"),
});
scalar!(bool, |token| match token {
    Token::Bool(v) => Ok(v),
    other => other.refuse("Boolean"),
});
scalar!(Bytes, |token| match token {
    Token::Str(v) => STANDARD.decode(v).map(Bytes::from).map_err(|e| format!("STRING_VALUE is not valid base64: {e}")),
    other => other.refuse("ByteBuffer"),
});
scalar!(Timestamp, |token| match token {
    Token::Int(v) => Ok(Timestamp::from_millis(v.saturating_mul(1_000))),
    Token::Float(v) => Timestamp::from_secs_f64(v).ok_or_else(|| "NUMBER_VALUE cannot be converted to Date".to_owned()),
    // Query and REST bindings hand times on as text; some SDKs write them so in JSON, too.
    Token::Str(v) => v.parse().map_err(|_| "STRING_VALUE cannot be converted to Date".to_owned()),
    other => other.refuse("Date"),
});
