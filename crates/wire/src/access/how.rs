//! How the name of a resource is made of what an input says.

use base::Scope;

/// What is made of members. Whoever reads the same members when the call is executed reads them the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The first, as it is.
    AsItIs,
    /// An event bus by name or ARN; none is the default one.
    Bus,
    /// A rule: its bus, which may be absent, and its name.
    Rule,
    /// A schedule: its group, which may be absent, and its name.
    Schedule,
    /// A function by name, partial or whole ARN, with a qualifier in it or beside it; of a version or alias if one is
    /// named.
    Function,
    /// A function, whatever version or alias is named.
    BareFunction,
    /// A layer by name or ARN, and its version if one is named.
    Layer,
    /// A queue by its address.
    Queue,
    /// The stream that an iterator reads.
    Iterator,
    /// The stream that a page of shards is of.
    Shards,
    /// A stream's ARN and the name of its registered consumer.
    Consumer,
    /// The queue whose messages a task moves.
    MoveTask,
    /// A user by name; none is the caller.
    User,
    /// A group of users by name.
    Group,
    /// A role by name.
    Role,
    /// A user that is to be made: its path, which may be absent, and its name.
    NewUser,
    /// A group that is to be made.
    NewGroup,
    /// A role that is to be made.
    NewRole,
    /// A managed policy that is to be made.
    NewPolicy,
}

/// What is named by something that its service alone can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// The stream of a shard iterator.
    Iterator(&'a str),
    /// The stream of a listing of shards that goes on.
    Shards(&'a str),
    /// A registered consumer by its stream's ARN and its name.
    Consumer(&'a str, &'a str),
    /// The source queue of a task that moves messages.
    MoveTask(&'a str),
    /// A user, with the path; the caller where there is no name.
    User(Option<&'a str>),
    /// A group, with the path.
    Group(&'a str),
    /// A role, with the path.
    Role(&'a str),
}

/// Knows what is named by a token, and the paths of users and roles.
pub trait Names: Sync {
    /// The ARN, if there is such a thing.
    fn arn_of(&self, scope: &Scope, named: Named<'_>) -> Option<String>;
}

impl How {
    /// The resource's name; none where nothing is named.
    pub(super) fn make(
        self,
        first: Option<String>,
        others: &[Option<String>],
        scope: &Scope,
        names: &dyn Names,
    ) -> Option<String> {
        let other = others.first().and_then(Option::as_deref);
        let find = |named| names.arn_of(scope, named);
        match self {
            Self::AsItIs => first,
            Self::Bus => Some(bus(first.as_deref(), scope)),
            Self::Rule => Some(rule(first.as_deref(), other.unwrap_or_default(), scope)),
            Self::Schedule => {
                let (group, name) = (first.as_deref().unwrap_or("default"), other.unwrap_or_default());
                Some(own("scheduler", scope, &format!("schedule/{group}/{name}")))
            }
            Self::Function => Some(function(first.as_deref()?, other, scope)),
            Self::BareFunction => Some(unqualified(&function(first.as_deref()?, None, scope))),
            Self::Layer => Some(layer(first.as_deref()?, other, scope)),
            Self::Queue => Some(queue(first.as_deref()?, scope)),
            Self::Iterator => find(Named::Iterator(first.as_deref()?)),
            Self::Shards => find(Named::Shards(first.as_deref()?)),
            Self::Consumer => {
                let (stream, name) = (first.as_deref()?, other?);
                Some(find(Named::Consumer(stream, name)).unwrap_or_else(|| format!("{stream}/consumer/{name}")))
            }
            Self::MoveTask => find(Named::MoveTask(first.as_deref()?)),
            Self::User => find(Named::User(first.as_deref()))
                .or_else(|| Some(format!("arn:aws:iam::{}:user/{}", scope.account, first.as_deref()?))),
            Self::Group => {
                let name = first.as_deref()?;
                Some(find(Named::Group(name)).unwrap_or_else(|| format!("arn:aws:iam::{}:group/{name}", scope.account)))
            }
            Self::Role => {
                let name = first.as_deref()?;
                Some(find(Named::Role(name)).unwrap_or_else(|| format!("arn:aws:iam::{}:role/{name}", scope.account)))
            }
            Self::NewUser => Some(made("user", first.as_deref(), other?, scope)),
            Self::NewGroup => Some(made("group", first.as_deref(), other?, scope)),
            Self::NewRole => Some(made("role", first.as_deref(), other?, scope)),
            Self::NewPolicy => Some(made("policy", first.as_deref(), other?, scope)),
        }
    }
}

/// What is made has its path from the call.
fn made(kind: &str, path: Option<&str>, name: &str, scope: &Scope) -> String {
    format!("arn:aws:iam::{}:{kind}{}{name}", scope.account, path.unwrap_or("/"))
}

fn own(service: &str, scope: &Scope, rest: &str) -> String {
    format!("arn:aws:{service}:{}:{}:{rest}", scope.region, scope.account)
}

fn bus(name: Option<&str>, scope: &Scope) -> String {
    match name {
        Some(arn) if arn.starts_with("arn:") => arn.to_owned(),
        name => own("events", scope, &format!("event-bus/{}", name.unwrap_or("default"))),
    }
}

/// Of the default bus `rule/NAME`, of another `rule/BUS/NAME`.
fn rule(on: Option<&str>, name: &str, scope: &Scope) -> String {
    let bus = bus(on, scope);
    let Some((before, bus)) = bus.split_once(":event-bus/") else { return bus };
    if bus == "default" { format!("{before}:rule/{name}") } else { format!("{before}:rule/{bus}/{name}") }
}

/// `NAME`, `ACCOUNT:function:NAME` or an ARN, each with `:QUALIFIER` or without.
fn function(text: &str, qualifier: Option<&str>, scope: &Scope) -> String {
    let (before, resource) = match text.split_once(":function:") {
        Some((arn, resource)) if arn.starts_with("arn:") => (arn.to_owned(), resource),
        Some((account, resource)) => (format!("arn:aws:lambda:{}:{account}", scope.region), resource),
        None => {
            let here = format!("arn:aws:lambda:{}:{}", scope.region, scope.account);
            (here, text.strip_prefix("function:").unwrap_or(text))
        }
    };
    let (name, inline) = resource.split_once(':').map_or((resource, None), |(name, of)| (name, Some(of)));
    match inline.or(qualifier) {
        Some(qualifier) => format!("{before}:function:{name}:{qualifier}"),
        None => format!("{before}:function:{name}"),
    }
}

fn unqualified(arn: &str) -> String {
    arn.splitn(8, ':').take(7).collect::<Vec<_>>().join(":")
}

fn layer(text: &str, version: Option<&str>, scope: &Scope) -> String {
    let base = if text.starts_with("arn:") { text.to_owned() } else { own("lambda", scope, &format!("layer:{text}")) };
    version.map_or(base.clone(), |version| format!("{base}:{version}"))
}

/// The queue's name is the last part of its address.
fn queue(url: &str, scope: &Scope) -> String {
    own("sqs", scope, url.rsplit('/').next().unwrap_or_default())
}
