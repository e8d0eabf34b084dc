//! The form of the generated tables: services, operations, shapes and their constraints.
//!
//! Everything that is not speed-critical is driven by them: validation, query, XML, REST bindings, error codes.

use std::sync::OnceLock;

use crate::ServiceId;
use crate::access::Access;
use crate::validate::pattern::Matcher;

/// How a service's requests and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// JSON in the body, the operation in `X-Amz-Target`.
    AwsJson,
    /// A form in the body, XML back, the operation in `Action`.
    Query,
    /// JSON in the body, the operation in method and path.
    RestJson,
}

/// A service.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name as SDKs write it, such as `kinesis`.
    pub name: &'static str,
    /// The service name in signatures.
    pub signing_name: &'static str,
    /// How it is spoken.
    pub protocol: Protocol,
    /// `1.0` or `1.1` for awsJson, else empty.
    pub json_version: &'static str,
    /// What precedes the operation in `X-Amz-Target`, else empty.
    pub target_prefix: &'static str,
    /// Such as `2013-12-02`.
    pub api_version: &'static str,
    /// The namespace of its XML, else empty.
    pub xml_namespace: &'static str,
    /// Whether a service of awsJson can be spoken by the query protocol, too ("awsQueryCompatible").
    pub query_compatible: bool,
    /// All operations, by name.
    pub operations: &'static [Operation],
    /// The errors of the done operations, by shape name.
    pub errors: &'static [ErrorShape],
    /// The shapes of the done operations, by name.
    pub shapes: &'static [&'static Shape],
}

impl Service {
    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&'static Operation> {
        let operations = self.operations;
        operations.binary_search_by(|o| o.name.cmp(name)).ok().map(|i| &operations[i])
    }

    /// The error of this shape name or code.
    pub fn error(&self, name: &str) -> Option<&'static ErrorShape> {
        self.errors.iter().find(|e| e.name == name || e.code == name)
    }
}

/// An operation.
#[derive(Debug)]
pub struct Operation {
    /// The service it is of.
    pub service: ServiceId,
    /// Its name, such as `PutRecords`.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path with its `{Label}`s, and a fixed query if the model has one.
    pub uri: &'static str,
    /// Whether Tidegate does it.
    pub done: bool,
    /// The HTTP status of success.
    pub status: u16,
    /// The element around the result in query answers.
    pub result_wrapper: Option<&'static str>,
    /// What it asks of policies.
    pub access: Access,
}

/// An error that a service's model declares.
#[derive(Debug)]
pub struct ErrorShape {
    /// Its shape's name, such as `NotFoundException`.
    pub name: &'static str,
    /// Its code on the wire, such as `NotFound`.
    pub code: &'static str,
    /// Its HTTP status.
    pub status: u16,
    /// What its member with the message is called: `message` or `Message`.
    pub message_member: &'static str,
    /// Whether it carries `Type`, `User` or `Service`, as Lambda's do.
    pub has_type: bool,
    /// Code and HTTP status in the query protocol, where they are others than its service's own protocol has.
    pub query: Option<(&'static str, u16)>,
}

/// A shape: a type with constraints.
#[derive(Debug)]
pub struct Shape {
    /// Its name in the model.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Least length (characters, bytes, entries) or value.
    pub min: Option<i64>,
    /// Greatest length or value.
    pub max: Option<i64>,
    /// What the whole string must match.
    pub pattern: Option<&'static Pattern>,
    /// The only values allowed, when not empty.
    pub values: &'static [&'static str],
    /// Its value is never shown.
    pub sensitive: bool,
}

/// What a shape is.
#[derive(Debug)]
pub enum Kind {
    /// Text.
    String,
    /// 32 or 64 bits, signed.
    Integer,
    /// A binary floating-point number.
    Float,
    /// True or false.
    Boolean,
    /// Bytes, base64 in JSON, XML and forms.
    Blob,
    /// A time, in the shape's own form if it has one.
    Timestamp(Option<TimeFormat>),
    /// A sequence.
    List {
        /// What it holds.
        member: Element,
        /// Whether query and XML leave the list's own element out.
        flattened: bool,
    },
    /// Text to values.
    Map {
        /// What its keys are.
        key: Element,
        /// What its values are.
        value: Element,
        /// Whether query and XML leave the map's own element out.
        flattened: bool,
        /// What query and XML call its entries when it is flattened, if not as the member is called.
        entry: Option<&'static str>,
    },
    /// Named members, by name.
    Structure(&'static [Member]),
}

/// What a list or a map holds.
#[derive(Debug)]
pub struct Element {
    /// Its shape.
    pub shape: &'static Shape,
    /// Its element's name in query and XML, when not `member`, `key` or `value`.
    pub name: Option<&'static str>,
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its name in the model.
    pub name: &'static str,
    /// Its name on the wire: key, element, header, query parameter or label.
    pub wire: &'static str,
    /// Its shape.
    pub shape: &'static Shape,
    /// Whether it must be there.
    pub required: bool,
    /// Where a REST protocol carries it.
    pub location: Location,
    /// Whether query and XML leave the list's or map's own element out here.
    pub flattened: bool,
    /// How a time is written here, when not in the protocol's usual way.
    pub time: Option<TimeFormat>,
}

/// Where a REST protocol carries a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the body's document.
    Body,
    /// In the path.
    Uri,
    /// In the query string.
    Query,
    /// In a header.
    Header,
    /// In all headers with a prefix.
    HeaderPrefix,
    /// It is the HTTP status.
    Status,
    /// It is the body.
    Payload,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2026-11-23T04:05:06.789Z`.
    Iso8601,
    /// Seconds since 1970, with a fraction.
    Epoch,
    /// `Mon, 23 Nov 2026 04:05:06 GMT`.
    Http,
}

/// A regular expression of a model, compiled on first use.
#[derive(Debug)]
pub struct Pattern {
    /// As the model writes it.
    pub text: &'static str,
    compiled: OnceLock<Matcher>,
}

impl Pattern {
    /// A pattern of this text.
    pub const fn new(text: &'static str) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.matcher().matches(value)
    }

    /// Whether the pattern could be compiled. One that could not refuses nothing.
    pub fn is_checked(&self) -> bool {
        self.matcher().is_complete()
    }

    fn matcher(&self) -> &Matcher {
        self.compiled.get_or_init(|| Matcher::new(self.text))
    }
}
