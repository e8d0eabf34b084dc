//! A second evaluator, written from the pages of the IAM User Guide and from nothing else: it walks the documents as
//! they are, for every request anew, and does each step as the pages tell it.

use auth::Outcome;
use serde_json::Value;

/// The keys of a request in lower case, and their values.
pub type Keys = Vec<(String, Vec<String>)>;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Who {
    Root { account: String },
    User { account: String, arn: String, id: String },
    Session { account: String, arn: String, role_arn: String, role_id: String, name: String },
    Service { name: String },
    Anonymous,
}

/// Everything that a decision depends on.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub identity: Vec<Value>,
    pub boundary: Option<Value>,
    pub session: Option<Vec<Value>>,
    pub resource: Option<Value>,
    /// Whether the resource's policy is a role's trust policy.
    pub is_trust: bool,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub who: Who,
    pub action: String,
    pub resource: String,
    pub owner: Option<String>,
    pub keys: Keys,
}

/// How a `Principal` element names somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Themselves,
    TheirRole,
    TheirAccount,
}

pub fn decide(world: &World, asked: &Asked) -> Outcome {
    let documents =
        world.identity.iter().chain(&world.boundary).chain(world.session.iter().flatten()).chain(&world.resource);
    // "If the code finds even one explicit deny that applies, the code returns a final decision of Deny."
    for document in documents {
        for statement in statements(document) {
            if statement["Effect"] == "Deny" && applies(world, document, statement, asked).is_some() {
                return Outcome::ExplicitDeny;
            }
        }
    }
    let allowing = |document: &Value| -> Vec<Named> {
        let allows = statements(document).into_iter().filter(|statement| statement["Effect"] == "Allow");
        allows.filter_map(|statement| applies(world, document, statement, asked)).collect()
    };
    let identity = world.identity.iter().any(|document| !allowing(document).is_empty());
    let boundary = world.boundary.as_ref().is_none_or(|document| !allowing(document).is_empty());
    let session = world.session.as_ref().is_none_or(|all| all.iter().any(|document| !allowing(document).is_empty()));
    let resource: Vec<Named> = world.resource.as_ref().map(&allowing).unwrap_or_default();
    let is_root = matches!(asked.who, Who::Root { .. });
    // "By default, all requests are implicitly denied with the exception of the AWS account root user."
    let within_own_account = (is_root || identity) && boundary && session;
    let account = match &asked.who {
        Who::Root { account } | Who::User { account, .. } | Who::Session { account, .. } => Some(account),
        Who::Service { .. } | Who::Anonymous => None,
    };
    let is_allowed = match account {
        None => !resource.is_empty(),
        // "The request is allowed only if both evaluations return a decision of Allow."
        Some(account) if asked.owner.as_ref().is_some_and(|owner| owner != account) => {
            within_own_account && !resource.is_empty()
        }
        // "Permissions granted directly to a session are not limited by an implicit deny", and a user's the same.
        Some(_) if resource.contains(&Named::Themselves) => true,
        // "… to an IAM role ARN are limited by an implicit deny in a permissions boundary or session policy."
        Some(_) if resource.contains(&Named::TheirRole) => boundary && session,
        // "IAM role trust policies … must explicitly allow access."
        Some(_) if world.is_trust => within_own_account && !resource.is_empty(),
        Some(_) => within_own_account,
    };
    if is_allowed { Outcome::Allowed } else { Outcome::ImplicitDeny }
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |all| all.iter().collect())
}

fn statements(document: &Value) -> Vec<&Value> {
    list(&document["Statement"])
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn applies(world: &World, document: &Value, statement: &Value, asked: &Asked) -> Option<Named> {
    let variables = document["Version"] == "2012-10-17";
    let action = |pattern: &Value| like(&plain(&text(pattern).to_lowercase(), true), &asked.action.to_lowercase());
    let acts = match statement.get("NotAction") {
        Some(patterns) => !list(patterns).into_iter().any(action),
        None => list(&statement["Action"]).into_iter().any(action),
    };
    if !acts || !about(statement, asked, variables) {
        return None;
    }
    let named = match (statement.get("Principal"), statement.get("NotPrincipal")) {
        (Some(principal), _) => named(principal, &asked.who)?,
        (None, Some(exceptions)) if is_excepted(exceptions, &asked.who, world.boundary.is_some()) => return None,
        _ => Named::Themselves,
    };
    let Some(Value::Object(operators)) = statement.get("Condition") else { return Some(named) };
    for (operator, keys) in operators {
        for (key, values) in keys.as_object().unwrap() {
            if !holds(operator, key, &list(values), asked, variables) {
                return None;
            }
        }
    }
    Some(named)
}

fn about(statement: &Value, asked: &Asked, variables: bool) -> bool {
    let matches = |pattern: &Value| -> Option<bool> {
        let pattern = text(pattern);
        if pattern == "*" {
            return Some(true);
        }
        arn_like(&pieces(&pattern, true, variables, &asked.keys), &asked.resource, true)
    };
    match (statement.get("Resource"), statement.get("NotResource")) {
        (None, None) => true,
        (Some(patterns), _) => list(patterns).into_iter().any(|pattern| matches(pattern) == Some(true)),
        (None, Some(patterns)) => {
            let all: Vec<_> = list(patterns).into_iter().map(matches).collect();
            let is_unknown = all.contains(&None);
            !all.contains(&Some(true)) && (!is_unknown || statement["Effect"] == "Deny")
        }
    }
}

// ---- Principals ----

fn listed(principals: &Value, class: &str) -> Vec<String> {
    match principals {
        Value::String(star) if class == "AWS" => vec![star.clone()],
        principals => principals.get(class).map(|all| list(all).into_iter().map(text).collect()).unwrap_or_default(),
    }
}

fn named(principals: &Value, who: &Who) -> Option<Named> {
    let aws = listed(principals, "AWS");
    let has = |name: &str| aws.iter().any(|held| held == name);
    let has_account = |account: &str| has(account) || has(&format!("arn:aws:iam::{account}:root"));
    if has("*") {
        return Some(Named::Themselves);
    }
    let (is_them, is_role, is_account) = match who {
        Who::Root { account } => (has_account(account), false, false),
        Who::User { account, arn, id } => (has(arn) || has(id), false, has_account(account)),
        Who::Session { account, arn, role_arn, role_id, name } => {
            (has(arn) || has(&format!("{role_id}:{name}")), has(role_arn) || has(role_id), has_account(account))
        }
        Who::Service { name } => (listed(principals, "Service").contains(name), false, false),
        Who::Anonymous => (false, false, false),
    };
    match (is_them, is_role, is_account) {
        (true, ..) => Some(Named::Themselves),
        (_, true, _) => Some(Named::TheirRole),
        (.., true) => Some(Named::TheirAccount),
        _ => None,
    }
}

fn is_excepted(exceptions: &Value, who: &Who, bounded: bool) -> bool {
    let aws = listed(exceptions, "AWS");
    let has = |name: &str| aws.iter().any(|held| held == name);
    let has_account = |account: &str| has(account) || has(&format!("arn:aws:iam::{account}:root"));
    if has("*") {
        return true;
    }
    match who {
        Who::Root { account } => has_account(account),
        Who::User { account, arn, .. } => !bounded && has(arn) && has_account(account),
        Who::Session { account, arn, role_arn, .. } => !bounded && has(arn) && has(role_arn) && has_account(account),
        Who::Service { name } => listed(exceptions, "Service").contains(name),
        Who::Anonymous => false,
    }
}

// ---- Texts ----

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// A character of the policy's.
    Own(char),
    /// A character of what a variable stands for.
    Given(char),
    Many,
    One,
}

fn plain(pattern: &str, wildcards: bool) -> Vec<Piece> {
    let piece = |c| match c {
        '*' if wildcards => Piece::Many,
        '?' if wildcards => Piece::One,
        c => Piece::Own(c),
    };
    pattern.chars().map(piece).collect()
}

/// The pattern with its variables replaced; none when one has no value.
fn pieces(pattern: &str, wildcards: bool, variables: bool, keys: &Keys) -> Option<Vec<Piece>> {
    let Some((before, rest)) = pattern.split_once("${").filter(|_| variables) else {
        return Some(plain(pattern, wildcards));
    };
    let (inside, behind) = rest.split_once('}').unwrap();
    let value = match inside {
        "*" | "?" | "$" => inside.to_owned(),
        _ => {
            let (name, default) = match inside.split_once(',') {
                Some((name, default)) => (name, Some(default.trim().trim_matches('\'').to_owned())),
                None => (inside, None),
            };
            let held = keys.iter().find(|(key, _)| *key == name.to_lowercase()).map(|(_, values)| values.as_slice());
            match held {
                Some([value]) if !value.is_empty() => value.clone(),
                _ => default?,
            }
        }
    };
    let mut all = plain(before, wildcards);
    all.extend(value.chars().map(Piece::Given));
    all.extend(pieces(behind, wildcards, variables, keys)?);
    Some(all)
}

fn like(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    fn from(pattern: &[Piece], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([Piece::Many, rest @ ..], _) => from(rest, text) || (!text.is_empty() && from(pattern, &text[1..])),
            ([Piece::One, rest @ ..], [_, behind @ ..]) => from(rest, behind),
            ([Piece::Own(c) | Piece::Given(c), rest @ ..], [first, behind @ ..]) => c == first && from(rest, behind),
            _ => false,
        }
    }
    from(pattern, &text)
}

/// "Each of the six colon-delimited components of the ARN is checked separately."
fn arn_like(pattern: &Option<Vec<Piece>>, text: &str, complete: bool) -> Option<bool> {
    let components: Vec<&str> = text.splitn(6, ':').collect();
    if components.len() < 6 || components[0] != "arn" {
        return Some(false);
    }
    let mut rest = pattern.as_deref()?;
    let mut patterns = Vec::new();
    while patterns.len() < 5 {
        let Some(colon) = rest.iter().position(|piece| *piece == Piece::Own(':')) else { break };
        patterns.push(&rest[..colon]);
        rest = &rest[colon + 1..];
    }
    patterns.push(rest);
    if patterns.len() < 6 && !complete {
        return Some(like(pattern.as_deref()?, text));
    }
    while patterns.len() < 6 {
        patterns.push(&[Piece::Many]);
    }
    Some(patterns.iter().zip(components).all(|(pattern, component)| like(pattern, component)))
}

// ---- Conditions ----

fn holds(operator: &str, key: &str, values: &[&Value], asked: &Asked, variables: bool) -> bool {
    let mut name = operator;
    let set = ["ForAllValues", "ForAnyValue"].into_iter().find(|set| {
        operator.strip_prefix(set).and_then(|rest| rest.strip_prefix(':')).inspect(|rest| name = rest).is_some()
    });
    let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
    let present = asked.keys.iter().find(|(held, all)| *held == key.to_lowercase() && !all.is_empty());
    let is_null = present.is_none_or(|(_, all)| all.iter().all(String::is_empty));
    if name == "Null" {
        return values.iter().any(|wanted| (text(wanted).to_lowercase() == "true") == is_null);
    }
    let negated = name.contains("Not");
    let positive = name.replacen("Not", "", 1);
    let test = |given: &String| {
        negated != values.iter().any(|wanted| compare(&positive, given, &text(wanted), &asked.keys, variables))
    };
    match (present, set) {
        (None, _) if if_exists => true,
        // "It also returns true if there are no keys in the request, or if the key values resolve to a null data set."
        (_, Some("ForAllValues")) if is_null => true,
        // "For no matching key or a null dataset, the condition returns false."
        (_, Some(_)) if is_null => false,
        (Some((_, all)), Some("ForAnyValue")) => all.iter().any(test),
        (Some((_, all)), _) => all.iter().all(test),
        // "If the policy condition requires that the key is not matched … the condition is true."
        (None, _) => negated,
    }
}

fn compare(name: &str, given: &str, wanted: &str, keys: &Keys, variables: bool) -> bool {
    let replaced = |wildcards| pieces(wanted, wildcards, variables, keys);
    let as_text = || -> Option<String> {
        Some(
            replaced(false)?
                .iter()
                .map(|piece| if let Piece::Own(c) | Piece::Given(c) = piece { *c } else { '*' })
                .collect(),
        )
    };
    let number = |text: &str| text.parse::<f64>().ok();
    // The generator writes whole times in UTC or seconds since 1970.
    let time = |text: &str| number(text).or_else(|| text.parse::<base::Timestamp>().ok().map(|time| time.secs_f64()));
    let order = |given: Option<f64>, wanted: Option<f64>| {
        let (Some(given), Some(wanted)) = (given, wanted) else { return false };
        match name.trim_start_matches("Numeric").trim_start_matches("Date") {
            "Equals" => given == wanted,
            "LessThan" => given < wanted,
            "LessThanEquals" => given <= wanted,
            "GreaterThan" => given > wanted,
            _ => given >= wanted,
        }
    };
    match name {
        "StringEquals" => as_text().is_some_and(|wanted| wanted == given),
        "StringEqualsIgnoreCase" | "Bool" => {
            as_text().is_some_and(|wanted| wanted.to_lowercase() == given.to_lowercase())
        }
        "StringLike" => replaced(true).is_some_and(|pattern| like(&pattern, given)),
        "ArnEquals" | "ArnLike" => arn_like(&replaced(true), given, false) == Some(true),
        // The generator writes base64 in one spelling only.
        "BinaryEquals" => given == wanted,
        "IpAddress" => in_network(given, wanted),
        _ if name.starts_with("Numeric") => order(number(given), number(wanted)),
        _ => order(time(given), time(wanted)),
    }
}

/// The bits of both, one by one.
fn in_network(given: &str, network: &str) -> bool {
    let bits = |address: &str| -> Option<String> {
        match address.parse().ok()? {
            std::net::IpAddr::V4(v4) => Some(v4.octets().iter().map(|octet| format!("{octet:08b}")).collect()),
            std::net::IpAddr::V6(v6) => Some(v6.octets().iter().map(|octet| format!("{octet:08b}")).collect()),
        }
    };
    let (address, length) = network.split_once('/').map_or((network, None), |(a, l)| (a, l.parse::<usize>().ok()));
    match (bits(given), bits(address)) {
        (Some(given), Some(wanted)) if given.len() == wanted.len() => {
            let length = length.unwrap_or(wanted.len());
            given[..length] == wanted[..length]
        }
        _ => false,
    }
}
