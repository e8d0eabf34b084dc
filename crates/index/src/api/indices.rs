//! Indices: make, show, remove, mappings and settings.

use base::Scope;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::cluster::shards;
use super::names::{self, Lenience};
use super::route::Service;
use crate::engine::{CreateError, CreateRequest};
use crate::http::{ApiError, Parameters, Reply, Request};
use crate::mapping::{Mapping, Settings, merge_mapping, render_mapping};

/// Parameters about waiting for other nodes, of which there are none.
const ABOUT_NODES: [&str; 6] =
    ["timeout", "master_timeout", "cluster_manager_timeout", "wait_for_active_shards", "local", "include_type_name"];

fn parameters(request: &Request) -> Result<Lenience, ApiError> {
    let mut parameters: Parameters = request.parameters.clone();
    parameters.pass(&ABOUT_NODES);
    let lenience = Lenience::take(&mut parameters)?;
    parameters.finish(&request.path)?;
    Ok(lenience)
}

/// `PUT /index`.
pub async fn create(service: &Service, scope: &Scope, request: &Request, name: &str) -> Result<Reply, ApiError> {
    parameters(request)?;
    let index = names::valid(name)?;
    let body = request.json()?;
    let wanted = read(&body)?;
    let made = service.registry.create(scope, &index, wanted).await;
    match made {
        Ok(_) => Ok(Reply::ok(&json!({"acknowledged": true, "shards_acknowledged": true, "index": name}))),
        Err(CreateError::Exists) => Err(ApiError {
            index: Some(name.to_owned()),
            ..ApiError::new(
                StatusCode::BAD_REQUEST,
                "resource_already_exists_exception",
                format!("index [{name}] already exists"),
            )
        }),
        Err(other) => Err(failed(other)),
    }
}

/// What making an index failed of, other than that it is there.
pub fn failed(error: CreateError) -> ApiError {
    match error {
        CreateError::Exists => ApiError::argument("the index already exists"),
        CreateError::TooMany(most) => ApiError::new(
            StatusCode::BAD_REQUEST,
            "validation_exception",
            format!("there are {most} indices, which is the most that there may be; remove some first"),
        ),
        CreateError::Engine(error) => error.into(),
    }
}

fn read(body: &Value) -> Result<CreateRequest, ApiError> {
    let Value::Object(map) = body else { return Err(ApiError::argument("the body must be an object")) };
    let mut wanted = CreateRequest { settings: Settings::default(), mapping: Mapping::new() };
    if let Some(settings) = map.get("settings") {
        wanted.settings = Settings::parse(settings).map_err(ApiError::argument)?;
    }
    for (key, value) in map {
        match key.as_str() {
            "settings" => {}
            "mappings" => merge_mapping(&mut wanted.mapping, value, wanted.settings.total_fields_limit)
                .map_err(|reason| ApiError::new(StatusCode::BAD_REQUEST, "mapper_parsing_exception", reason))?,
            "aliases" if value.as_object().is_some_and(Map::is_empty) => {}
            other => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "parsing_exception",
                    format!("unknown key [{other}] for create index: supported are settings, mappings"),
                ));
            }
        }
    }
    Ok(wanted)
}

/// `HEAD /index`.
pub fn exists(service: &Service, scope: &Scope, request: &Request, list: &str) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    let found = names::several(&service.registry, scope, Some(list), lenience).is_ok_and(|found| !found.is_empty());
    Ok(Reply::empty(if found { StatusCode::OK } else { StatusCode::NOT_FOUND }))
}

/// `GET /index`.
pub async fn get(service: &Service, scope: &Scope, request: &Request, list: &str) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    let mut out = Map::new();
    for entry in names::several(&service.registry, scope, Some(list), lenience)? {
        let meta = entry.open().await?.meta();
        let name = entry.name.as_str();
        let settings = meta.settings.render(name, &meta.uuid, meta.created_ms);
        let shown = json!({"aliases": {}, "mappings": render_mapping(&meta.mapping), "settings": settings});
        out.insert(name.to_owned(), shown);
    }
    Ok(Reply::ok(&out))
}

/// `DELETE /index`.
pub async fn delete(service: &Service, scope: &Scope, request: &Request, list: &str) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    if list == "_all" || list.contains('*') {
        return Err(ApiError::argument("Wildcard expressions or all indices are not allowed"));
    }
    for entry in names::several(&service.registry, scope, Some(list), lenience)? {
        service.registry.delete(&entry).await?;
    }
    Ok(Reply::ok(&json!({"acknowledged": true})))
}

/// `GET _mapping`.
pub async fn get_mapping(
    service: &Service,
    scope: &Scope,
    request: &Request,
    list: Option<&str>,
) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    let mut out = Map::new();
    for entry in names::several(&service.registry, scope, list, lenience)? {
        let meta = entry.open().await?.meta();
        out.insert(entry.name.to_string(), json!({"mappings": render_mapping(&meta.mapping)}));
    }
    Ok(Reply::ok(&out))
}

/// `GET _settings`.
pub async fn get_settings(
    service: &Service,
    scope: &Scope,
    request: &Request,
    list: Option<&str>,
) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    let mut out = Map::new();
    for entry in names::several(&service.registry, scope, list, lenience)? {
        let meta = entry.open().await?.meta();
        let settings = meta.settings.render(entry.name.as_str(), &meta.uuid, meta.created_ms);
        out.insert(entry.name.to_string(), json!({"settings": settings}));
    }
    Ok(Reply::ok(&out))
}

/// `PUT /index/_mapping`.
pub async fn put_mapping(service: &Service, scope: &Scope, request: &Request, list: &str) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    let body = request.json()?;
    for entry in names::several(&service.registry, scope, Some(list), lenience)? {
        entry.put_mapping(body.clone()).await?.map_err(ApiError::argument)?;
    }
    Ok(Reply::ok(&json!({"acknowledged": true})))
}

/// `_refresh`: whatever is acknowledged is visible already, so there is nothing to do.
pub fn refresh(service: &Service, scope: &Scope, request: &Request, list: Option<&str>) -> Result<Reply, ApiError> {
    let lenience = parameters(request)?;
    let count = names::several(&service.registry, scope, list, lenience)?.len();
    Ok(Reply::ok(&json!({"_shards": shards(count)})))
}
