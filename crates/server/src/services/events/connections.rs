//! Connections: each option is translated or refused by name. What is secret goes in and never out.

use flow::FlowError;
use flow::destinations::{
    Authorization, Connection, ConnectionSpec, Credentials, Parameter, Parameters, Secret, connection_arn,
};
use wire::events::*;
use wire::{Call, ServiceError, only};

use super::{EventBridge, SERVICE, bad_token, failed, invalid, limit, page, undescribed};

fn state(connection: &Connection) -> Option<String> {
    Some(if connection.is_authorized() { "AUTHORIZED" } else { "DEAUTHORIZED" }.to_owned())
}

fn lacks(what: &str) -> ServiceError {
    invalid(format!("Parameter {what} is required for this AuthorizationType."))
}

pub(super) async fn create(
    service: &EventBridge,
    call: &Call,
    input: CreateConnectionInput,
) -> Result<CreateConnectionOutput, ServiceError> {
    only(SERVICE, &input, &["Name", "Description", "AuthorizationType", "AuthParameters"])?;
    let given = input.auth_parameters;
    only(
        SERVICE,
        &given,
        &["BasicAuthParameters", "OAuthParameters", "ApiKeyAuthParameters", "InvocationHttpParameters"],
    )?;
    let basic = given.basic_auth_parameters.map(|p| (Some(p.username), Some(p.password)));
    let key = given.api_key_auth_parameters.map(|p| (Some(p.api_key_name), Some(p.api_key_value)));
    let oauth = given.o_auth_parameters.map(|p| Oauth {
        client_id: Some(p.client_parameters.client_id),
        client_secret: Some(p.client_parameters.client_secret),
        endpoint: Some(p.authorization_endpoint),
        method: Some(p.http_method),
        parameters: p.o_auth_http_parameters,
    });
    let credentials = Given { basic, key, oauth }.credentials(&input.authorization_type, None)?;
    let authorization = Authorization { credentials, parameters: parameters(given.invocation_http_parameters)? };
    let spec = ConnectionSpec { name: input.name, description: input.description };
    let made = service.destinations.create_connection(&call.scope, spec, &authorization).await.map_err(failed)?;
    Ok(CreateConnectionOutput {
        connection_arn: Some(connection_arn(&call.scope, &made).to_string()),
        connection_state: state(&made),
        creation_time: Some(made.created),
        last_modified_time: Some(made.modified),
    })
}

pub(super) async fn update(
    service: &EventBridge,
    call: &Call,
    input: UpdateConnectionInput,
) -> Result<UpdateConnectionOutput, ServiceError> {
    only(SERVICE, &input, &["Name", "Description", "AuthorizationType", "AuthParameters"])?;
    let given = input.auth_parameters.unwrap_or_default();
    only(
        SERVICE,
        &given,
        &["BasicAuthParameters", "OAuthParameters", "ApiKeyAuthParameters", "InvocationHttpParameters"],
    )?;
    let added = given.invocation_http_parameters;
    let given = Given {
        basic: given.basic_auth_parameters.map(|p| (p.username, p.password)),
        key: given.api_key_auth_parameters.map(|p| (p.api_key_name, p.api_key_value)),
        oauth: given.o_auth_parameters.map(|p| {
            let client = p.client_parameters.unwrap_or_default();
            Oauth {
                client_id: client.client_id,
                client_secret: client.client_secret,
                endpoint: p.authorization_endpoint,
                method: p.http_method,
                parameters: p.o_auth_http_parameters,
            }
        }),
    };
    let kind = input.authorization_type;
    let says_nothing = given.is_empty() && added.is_none() && kind.is_none();
    let authorize = |before: Option<Authorization>| {
        if says_nothing {
            return Ok(None);
        }
        let kind = match (&kind, &before) {
            (Some(kind), _) => kind.as_str(),
            (None, Some(before)) => kind_of(&before.credentials),
            (None, None) => return Err(FlowError::Invalid("Parameter AuthorizationType is required.".to_owned())),
        };
        let (credentials, kept) = before.map(|b| (b.credentials, b.parameters)).unzip();
        let credentials = given.clone().credentials(kind, credentials).map_err(|e| FlowError::Invalid(e.message))?;
        let parameters = match &added {
            Some(_) => parameters(added.clone()).map_err(|e| FlowError::Invalid(e.message))?,
            None => kept.unwrap_or_default(),
        };
        Ok(Some(Authorization { credentials, parameters }))
    };
    let spec = ConnectionSpec { name: input.name, description: input.description };
    let changed = service.destinations.update_connection(&call.scope, spec, authorize).await.map_err(failed)?;
    Ok(UpdateConnectionOutput {
        connection_arn: Some(connection_arn(&call.scope, &changed).to_string()),
        connection_state: state(&changed),
        creation_time: Some(changed.created),
        last_modified_time: Some(changed.modified),
        last_authorized_time: Some(changed.authorized),
    })
}

pub(super) fn describe(
    service: &EventBridge,
    call: &Call,
    input: &DescribeConnectionInput,
) -> Result<DescribeConnectionOutput, ServiceError> {
    let found = service.destinations.connection(&call.scope, &input.name);
    let found = found.map_err(|error| undescribed("connection(s)", error))?;
    Ok(DescribeConnectionOutput {
        connection_arn: Some(connection_arn(&call.scope, &found).to_string()),
        connection_state: state(&found),
        authorization_type: Some(kind_of(&found.shown.credentials).to_owned()),
        auth_parameters: Some(shown(&found.shown)),
        creation_time: Some(found.created),
        last_modified_time: Some(found.modified),
        last_authorized_time: Some(found.authorized),
        name: Some(found.name),
        description: found.description,
        ..Default::default()
    })
}

pub(super) fn list(
    service: &EventBridge,
    call: &Call,
    input: &ListConnectionsInput,
) -> Result<ListConnectionsOutput, ServiceError> {
    let mut found = service.destinations.connections(&call.scope).map_err(failed)?;
    found.retain(|c| input.name_prefix.as_ref().is_none_or(|prefix| c.name.starts_with(prefix)));
    found.retain(|c| input.connection_state.is_none() || input.connection_state == state(c));
    let (found, next_token) =
        page(found, |c| c.name.clone(), limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
    let shown = found.into_iter().map(|c| wire::events::Connection {
        connection_arn: Some(connection_arn(&call.scope, &c).to_string()),
        connection_state: state(&c),
        authorization_type: Some(kind_of(&c.shown.credentials).to_owned()),
        creation_time: Some(c.created),
        last_modified_time: Some(c.modified),
        last_authorized_time: Some(c.authorized),
        name: Some(c.name),
        ..Default::default()
    });
    Ok(ListConnectionsOutput { connections: Some(shown.collect()), next_token })
}

pub(super) async fn delete(
    service: &EventBridge,
    call: &Call,
    input: DeleteConnectionInput,
) -> Result<DeleteConnectionOutput, ServiceError> {
    let gone = service.destinations.delete_connection(&call.scope, &input.name).await.map_err(failed)?;
    Ok(DeleteConnectionOutput {
        connection_arn: Some(connection_arn(&call.scope, &gone).to_string()),
        connection_state: Some("DELETING".to_owned()),
        creation_time: Some(gone.created),
        last_modified_time: Some(gone.modified),
        last_authorized_time: Some(gone.authorized),
    })
}

pub(super) async fn deauthorize(
    service: &EventBridge,
    call: &Call,
    input: DeauthorizeConnectionInput,
) -> Result<DeauthorizeConnectionOutput, ServiceError> {
    let changed = service.destinations.deauthorize(&call.scope, &input.name).await.map_err(failed)?;
    Ok(DeauthorizeConnectionOutput {
        connection_arn: Some(connection_arn(&call.scope, &changed).to_string()),
        connection_state: state(&changed),
        creation_time: Some(changed.created),
        last_modified_time: Some(changed.modified),
        last_authorized_time: Some(changed.authorized),
    })
}

/// A pair of a name and what is secret of it, as far as given.
type Pair = (Option<String>, Option<String>);

#[derive(Clone, Default)]
struct Oauth {
    client_id: Option<String>,
    client_secret: Option<String>,
    endpoint: Option<String>,
    method: Option<String>,
    parameters: Option<ConnectionHttpParameters>,
}

/// Credentials as far as a call gives them.
#[derive(Clone)]
struct Given {
    basic: Option<Pair>,
    key: Option<Pair>,
    oauth: Option<Oauth>,
}

impl Given {
    fn is_empty(&self) -> bool {
        self.basic.is_none() && self.key.is_none() && self.oauth.is_none()
    }

    /// Credentials of a kind; what is not given stays as it was before, if it was of the same kind.
    fn credentials(self, kind: &str, before: Option<Credentials>) -> Result<Credentials, ServiceError> {
        let foreign = match kind {
            "BASIC" => self.key.is_some() || self.oauth.is_some(),
            "API_KEY" => self.basic.is_some() || self.oauth.is_some(),
            _ => self.basic.is_some() || self.key.is_some(),
        };
        if foreign {
            return Err(invalid(format!("AuthParameters do not fit the AuthorizationType {kind}.")));
        }
        let secret = |new: Option<String>, old: Option<Secret>| new.map(Secret::new).or(old);
        match kind {
            "BASIC" => {
                let (name, value) = self.basic.unwrap_or_default();
                let (old_name, old_value) = match before {
                    Some(Credentials::Basic { username, password }) => (Some(username), Some(password)),
                    _ => (None, None),
                };
                let username = name.or(old_name).ok_or_else(|| lacks("BasicAuthParameters"))?;
                let password = secret(value, old_value).ok_or_else(|| lacks("BasicAuthParameters"))?;
                Ok(Credentials::Basic { username, password })
            }
            "API_KEY" => {
                let (name, value) = self.key.unwrap_or_default();
                let (old_name, old_value) = match before {
                    Some(Credentials::ApiKey { name, value }) => (Some(name), Some(value)),
                    _ => (None, None),
                };
                let name = name.or(old_name).ok_or_else(|| lacks("ApiKeyAuthParameters"))?;
                let value = secret(value, old_value).ok_or_else(|| lacks("ApiKeyAuthParameters"))?;
                Ok(Credentials::ApiKey { name, value })
            }
            _ => self.oauth.unwrap_or_default().credentials(before),
        }
    }
}

impl Oauth {
    fn credentials(self, before: Option<Credentials>) -> Result<Credentials, ServiceError> {
        let lacking = || lacks("OAuthParameters");
        let (mut id, mut secret, mut address, mut verb, mut added) = (None, None, None, None, None);
        if let Some(Credentials::Oauth { client_id, client_secret, endpoint, method, parameters }) = before {
            (id, secret) = (Some(client_id), Some(client_secret));
            (address, verb, added) = (Some(endpoint), Some(method), Some(parameters));
        }
        Ok(Credentials::Oauth {
            client_id: self.client_id.or(id).ok_or_else(lacking)?,
            client_secret: self.client_secret.map(Secret::new).or(secret).ok_or_else(lacking)?,
            endpoint: self.endpoint.or(address).ok_or_else(lacking)?,
            method: self.method.or(verb).ok_or_else(lacking)?,
            parameters: match self.parameters {
                Some(given) => parameters(Some(given))?,
                None => added.unwrap_or_default(),
            },
        })
    }
}

fn parameter(key: Option<String>, value: Option<String>, is_secret: Option<bool>) -> Result<Parameter, ServiceError> {
    let missing = || invalid("Parameter Key is required for each HTTP parameter of a connection.");
    let key = key.filter(|key| !key.is_empty()).ok_or_else(missing)?;
    Ok(Parameter { key, value: Secret::new(value.unwrap_or_default()), is_secret: is_secret.unwrap_or(false) })
}

fn parameters(given: Option<ConnectionHttpParameters>) -> Result<Parameters, ServiceError> {
    let Some(given) = given else { return Ok(Parameters::default()) };
    let headers = given.header_parameters.into_iter().flatten();
    let query = given.query_string_parameters.into_iter().flatten();
    let body = given.body_parameters.into_iter().flatten();
    Ok(Parameters {
        headers: headers.map(|p| parameter(p.key, p.value, p.is_value_secret)).collect::<Result<_, _>>()?,
        query: query.map(|p| parameter(p.key, p.value, p.is_value_secret)).collect::<Result<_, _>>()?,
        body: body.map(|p| parameter(p.key, p.value, p.is_value_secret)).collect::<Result<_, _>>()?,
    })
}

fn kind_of(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::Basic { .. } => "BASIC",
        Credentials::ApiKey { .. } => "API_KEY",
        Credentials::Oauth { .. } => "OAUTH_CLIENT_CREDENTIALS",
    }
}

fn shown_parameters(parameters: &Parameters) -> Option<ConnectionHttpParameters> {
    if *parameters == Parameters::default() {
        return None;
    }
    let key = |p: &Parameter| Some(p.key.clone());
    let value = |p: &Parameter| p.shown().map(str::to_owned);
    let secret = |p: &Parameter| Some(p.is_secret);
    Some(ConnectionHttpParameters {
        header_parameters: Some(
            parameters
                .headers
                .iter()
                .map(|p| ConnectionHeaderParameter { key: key(p), value: value(p), is_value_secret: secret(p) })
                .collect(),
        ),
        query_string_parameters: Some(
            parameters
                .query
                .iter()
                .map(|p| ConnectionQueryStringParameter { key: key(p), value: value(p), is_value_secret: secret(p) })
                .collect(),
        ),
        body_parameters: Some(
            parameters
                .body
                .iter()
                .map(|p| ConnectionBodyParameter { key: key(p), value: value(p), is_value_secret: secret(p) })
                .collect(),
        ),
    })
}

fn shown(authorization: &Authorization) -> ConnectionAuthResponseParameters {
    let mut out = ConnectionAuthResponseParameters {
        // Shown even if there are none, unlike those of OAuth.
        invocation_http_parameters: Some(shown_parameters(&authorization.parameters).unwrap_or_default()),
        ..Default::default()
    };
    match authorization.credentials.clone() {
        Credentials::Basic { username, .. } => {
            out.basic_auth_parameters = Some(ConnectionBasicAuthResponseParameters { username: Some(username) });
        }
        Credentials::ApiKey { name, .. } => {
            out.api_key_auth_parameters = Some(ConnectionApiKeyAuthResponseParameters { api_key_name: Some(name) });
        }
        Credentials::Oauth { client_id, endpoint, method, parameters, .. } => {
            out.o_auth_parameters = Some(ConnectionOAuthResponseParameters {
                client_parameters: Some(ConnectionOAuthClientResponseParameters { client_id: Some(client_id) }),
                authorization_endpoint: Some(endpoint),
                http_method: Some(method),
                o_auth_http_parameters: shown_parameters(&parameters),
            });
        }
    }
    out
}
