//! Connections and API destinations: created, changed, shown, deleted.
//!
//! Owns their documents in the state store. Limits are the service's: 3,000 of each in an account and region.

use base::{Arn, ErrorKind, Kinded, Scope, StateStore, Table, Timestamp};
use http::Uri;
use serde::{Deserialize, Serialize};

use super::authorization::Authorization;
use super::token::TokenKey;
use super::{Destinations, api_destination_arn, connection_arn};
use crate::FlowError;
use crate::producer::producer_id;
use crate::stored::{self, Change};

const CONNECTIONS: Table = Table("flow.connections");
const DESTINATIONS: Table = Table("flow.api_destinations");
const MAX: usize = 3_000;
/// Calls of a destination in a second, when it says nothing else.
const DEFAULT_RATE: u32 = 300;

/// A connection as kept and shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// A UUID, part of its ARN.
    pub id: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How it authorizes, without what is secret.
    pub shown: Authorization,
    /// The whole of it, sealed; none once it is deauthorized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was changed last.
    pub modified: Timestamp,
    /// When it was authorized last.
    pub authorized: Timestamp,
}

impl Connection {
    /// Whether it can authorize.
    pub fn is_authorized(&self) -> bool {
        self.sealed.is_some()
    }
}

/// What a connection is created or changed with.
#[derive(Debug, Clone)]
pub struct ConnectionSpec {
    /// Its name.
    pub name: String,
    /// Free text; kept when absent in a change.
    pub description: Option<String>,
}

/// An API destination as kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiDestination {
    /// Its name.
    pub name: String,
    /// A UUID, part of its ARN.
    pub id: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The connection that authorizes its calls.
    pub connection: Arn,
    /// Where calls go; `*` stands for a path parameter.
    pub endpoint: String,
    /// `POST`, …
    pub method: String,
    /// Calls in a second.
    pub rate: u32,
    /// When it was created.
    pub created: Timestamp,
    /// When it was changed last.
    pub modified: Timestamp,
}

/// What an API destination is created or changed with: what is absent stays in a change.
#[derive(Debug, Clone, Default)]
pub struct ApiDestinationSpec {
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The connection.
    pub connection: Option<Arn>,
    /// Where calls go.
    pub endpoint: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// Calls in a second.
    pub rate: Option<u32>,
}

fn no_connection(name: &str) -> FlowError {
    FlowError::NotFound(format!("Connection '{name}' does not exist."))
}

fn no_destination(name: &str) -> FlowError {
    FlowError::NotFound(format!("An api-destination '{name}' does not exist."))
}

fn key(table: Table, scope: &Scope, name: &str) -> (Table, Vec<u8>) {
    (table, stored::key(scope, &[name]))
}

/// The name in `KIND/NAME/ID`.
fn name_of<'a>(arn: &'a Arn, scope: &Scope, kind: &str) -> Option<(&'a str, &'a str)> {
    let ours = arn.service() == "events" && arn.scope().as_ref() == Some(scope);
    arn.resource_of(kind).filter(|_| ours)?.split_once('/')
}

impl Destinations {
    fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    /// Whether an endpoint may be called: by https, or by http where the settings allow it.
    fn check_endpoint(&self, endpoint: &str) -> Result<(), FlowError> {
        let invalid = |why: &str| FlowError::Invalid(format!("Invalid endpoint '{endpoint}': {why}"));
        // A wildcard is a path segment like any other.
        let uri: Uri = endpoint.parse().map_err(|_| invalid("it is not a URL"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it names no host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(invalid("user and password in the URL are not supported"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('*')) {
            return Err(invalid("an event must not choose who is called: * may stand in the path only"));
        }
        self.inner.ports.http.check_host(host).map_err(|why| invalid(&why))?;
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.inner.ports.http.may_be_plain(host) => Ok(()),
            _ => Err(invalid("it must start with https://")),
        }
    }

    fn check_authorization(&self, authorization: &Authorization) -> Result<(), FlowError> {
        authorization.check()?;
        match &authorization.credentials {
            super::Credentials::Oauth { endpoint, .. } => self.check_endpoint(endpoint),
            _ => Ok(()),
        }
    }

    /// Creates a connection.
    pub async fn create_connection(
        &self,
        scope: &Scope,
        spec: ConnectionSpec,
        authorization: &Authorization,
    ) -> Result<Connection, FlowError> {
        self.check_authorization(authorization)?;
        if self.connections(scope)?.len() >= MAX {
            return Err(FlowError::LimitExceeded(format!("an account has at most {MAX} connections")));
        }
        let (env, sealer) = (&self.inner.ports.env, &self.inner.sealer);
        let (id, now) = (env.rng.uuid(), env.clock.now());
        let connection = Connection {
            sealed: Some(sealer.seal(&id, authorization, &*env.rng)?),
            name: spec.name.clone(),
            id,
            description: spec.description,
            shown: authorization.without_secrets(),
            created: now,
            modified: now,
            authorized: now,
        };
        stored::update(self.state(), key(CONNECTIONS, scope, &spec.name), "connection", |old: Option<Connection>| {
            match old {
                Some(_) => Err(FlowError::Conflict(format!("Connection {} already exists.", connection.name))),
                None => Ok((Change::Put(connection.clone(), Vec::new()), ())),
            }
        })
        .await?;
        Ok(connection)
    }

    /// Changes a connection; `authorize` makes the whole authorization from the one before, if there is one.
    pub async fn update_connection(
        &self,
        scope: &Scope,
        spec: ConnectionSpec,
        authorize: impl Fn(Option<Authorization>) -> Result<Option<Authorization>, FlowError>,
    ) -> Result<Connection, FlowError> {
        let (env, sealer) = (&self.inner.ports.env, &self.inner.sealer);
        let changed = stored::update(self.state(), key(CONNECTIONS, scope, &spec.name), "connection", |old| {
            let mut connection: Connection = old.ok_or_else(|| no_connection(&spec.name))?;
            let before = connection.sealed.as_deref().map(|sealed| sealer.open(&connection.id, sealed)).transpose()?;
            if let Some(authorization) = authorize(before)? {
                self.check_authorization(&authorization)?;
                connection.sealed = Some(sealer.seal(&connection.id, &authorization, &*env.rng)?);
                connection.shown = authorization.without_secrets();
                connection.authorized = env.clock.now();
            }
            connection.description = spec.description.clone().or(connection.description);
            connection.modified = env.clock.now();
            Ok((Change::Put(connection.clone(), Vec::new()), connection))
        })
        .await?;
        self.inner.tokens.forget(&changed.id);
        Ok(changed)
    }

    /// Removes what a connection authorizes by.
    pub async fn deauthorize(&self, scope: &Scope, name: &str) -> Result<Connection, FlowError> {
        let now = self.inner.ports.env.clock.now();
        let changed = stored::update(self.state(), key(CONNECTIONS, scope, name), "connection", |old| {
            let old: Connection = old.ok_or_else(|| no_connection(name))?;
            let connection = Connection { sealed: None, modified: now, ..old };
            Ok((Change::Put(connection.clone(), Vec::new()), connection))
        })
        .await?;
        self.inner.tokens.forget(&changed.id);
        Ok(changed)
    }

    /// Deletes a connection; destinations that use it cannot call any more.
    pub async fn delete_connection(&self, scope: &Scope, name: &str) -> Result<Connection, FlowError> {
        let deleted = stored::update(self.state(), key(CONNECTIONS, scope, name), "connection", |old| {
            let connection: Connection = old.ok_or_else(|| no_connection(name))?;
            Ok((Change::Delete(Vec::new()), connection))
        })
        .await?;
        self.inner.tokens.forget(&deleted.id);
        Ok(deleted)
    }

    /// A connection.
    pub fn connection(&self, scope: &Scope, name: &str) -> Result<Connection, FlowError> {
        let (table, key) = key(CONNECTIONS, scope, name);
        stored::get(self.state(), table, &key)?.ok_or_else(|| no_connection(name))
    }

    /// The connections of a scope, by name.
    pub fn connections(&self, scope: &Scope) -> Result<Vec<Connection>, FlowError> {
        stored::list(self.state(), CONNECTIONS, &stored::scope_prefix(scope))
    }

    /// The connection of an ARN, which must be of this scope.
    pub(super) fn connection_of(&self, scope: &Scope, arn: &Arn) -> Result<Connection, FlowError> {
        let missing = || FlowError::NotFound(format!("Connection '{arn}' does not exist."));
        let (name, id) = name_of(arn, scope, "connection").ok_or_else(missing)?;
        match self.connection(scope, name) {
            Ok(found) if found.id == id => Ok(found),
            // That the store cannot be read now says nothing about the connection.
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Err(missing()),
        }
    }

    /// Creates an API destination.
    pub async fn create_destination(
        &self,
        scope: &Scope,
        spec: ApiDestinationSpec,
    ) -> Result<ApiDestination, FlowError> {
        let needed = |name: &str| FlowError::Invalid(format!("Parameter {name} is required."));
        let now = self.inner.ports.env.clock.now();
        let destination = ApiDestination {
            name: spec.name,
            id: self.inner.ports.env.rng.uuid(),
            description: spec.description,
            connection: spec.connection.ok_or_else(|| needed("ConnectionArn"))?,
            endpoint: spec.endpoint.ok_or_else(|| needed("InvocationEndpoint"))?,
            method: spec.method.ok_or_else(|| needed("HttpMethod"))?,
            rate: spec.rate.unwrap_or(DEFAULT_RATE),
            created: now,
            modified: now,
        };
        self.check_endpoint(&destination.endpoint)?;
        self.connection_of(scope, &destination.connection)?;
        if self.destinations(scope)?.len() >= MAX {
            return Err(FlowError::LimitExceeded(format!("an account has at most {MAX} API destinations")));
        }
        let place = key(DESTINATIONS, scope, &destination.name);
        stored::update(self.state(), place, "API destination", |old: Option<ApiDestination>| match old {
            Some(_) => Err(FlowError::Conflict(format!("An api-destination '{}' already exists.", destination.name))),
            None => Ok((Change::Put(destination.clone(), Vec::new()), ())),
        })
        .await?;
        Ok(destination)
    }

    /// Changes an API destination.
    pub async fn update_destination(
        &self,
        scope: &Scope,
        spec: ApiDestinationSpec,
    ) -> Result<ApiDestination, FlowError> {
        if let Some(endpoint) = &spec.endpoint {
            self.check_endpoint(endpoint)?;
        }
        if let Some(connection) = &spec.connection {
            self.connection_of(scope, connection)?;
        }
        let now = self.inner.ports.env.clock.now();
        stored::update(self.state(), key(DESTINATIONS, scope, &spec.name), "API destination", |old| {
            let mut changed: ApiDestination = old.ok_or_else(|| no_destination(&spec.name))?;
            let new = spec.clone();
            changed.description = new.description.or(changed.description);
            changed.connection = new.connection.unwrap_or(changed.connection);
            changed.endpoint = new.endpoint.unwrap_or(changed.endpoint);
            changed.method = new.method.unwrap_or(changed.method);
            changed.rate = new.rate.unwrap_or(changed.rate);
            changed.modified = now;
            Ok((Change::Put(changed.clone(), Vec::new()), changed))
        })
        .await
    }

    /// Deletes an API destination.
    pub async fn delete_destination(&self, scope: &Scope, name: &str) -> Result<(), FlowError> {
        stored::update(
            self.state(),
            key(DESTINATIONS, scope, name),
            "API destination",
            |old: Option<ApiDestination>| {
                old.ok_or_else(|| no_destination(name))?;
                Ok((Change::Delete(Vec::new()), ()))
            },
        )
        .await
    }

    /// An API destination.
    pub fn destination(&self, scope: &Scope, name: &str) -> Result<ApiDestination, FlowError> {
        let (table, key) = key(DESTINATIONS, scope, name);
        stored::get(self.state(), table, &key)?.ok_or_else(|| no_destination(name))
    }

    /// The API destinations of a scope, by name.
    pub fn destinations(&self, scope: &Scope) -> Result<Vec<ApiDestination>, FlowError> {
        stored::list(self.state(), DESTINATIONS, &stored::scope_prefix(scope))
    }

    /// The API destination of an ARN.
    pub(crate) fn destination_of(&self, scope: &Scope, arn: &Arn) -> Result<ApiDestination, FlowError> {
        let missing = || FlowError::NotFound(format!("API destination {arn} does not exist."));
        let (name, _) = name_of(arn, scope, "api-destination").ok_or_else(missing)?;
        match self.destination(scope, name) {
            Ok(found) if api_destination_arn(scope, &found) == *arn => Ok(found),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Err(missing()),
        }
    }

    /// Whether a destination can be called: its connection is there and authorized.
    pub fn is_active(&self, scope: &Scope, destination: &ApiDestination) -> bool {
        self.connection_of(scope, &destination.connection).is_ok_and(|connection| connection.is_authorized())
    }

    /// The whole authorization of a destination's connection, and what its token is known by.
    pub(super) fn authorization(
        &self,
        scope: &Scope,
        destination: &ApiDestination,
    ) -> Result<(TokenKey, Authorization), FlowError> {
        let connection = self.connection_of(scope, &destination.connection)?;
        let arn = connection_arn(scope, &connection);
        let sealed = connection.sealed.ok_or_else(|| FlowError::Unavailable(format!("{arn} is deauthorized")))?;
        let authorization = self.inner.sealer.open(&connection.id, &sealed)?;
        // Sealed anew, the same authorization is another text.
        let mark = producer_id(&[b"authorization", sealed.as_bytes()]).0;
        Ok((TokenKey { connection: connection.id, mark }, authorization))
    }
}
