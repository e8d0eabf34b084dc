//! One request from head to answer: route, body, proof, permission, service.
//!
//! Promises that nothing but a public route is answered before its caller is proven and permitted, that no body is kept
//! of a caller whose head alone turns them away, and that every answer carries its request id and is counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{Access, AccountId, Arn, Decision, Env, FunctionName, Region, Scope};
use bytes::Bytes;
use futures::StreamExt;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use log::{StreamKey, StreamKind};
use tokio_util::sync::CancellationToken;
use wire::{Body, Call, ServiceId, Unidentified};

use crate::access;
use crate::auth::{Caller, Gate, Guard, Narrowed, RootKey, Session, SessionStore, Told};
use crate::config::Config;
use crate::edge::{Answer, AnswerBody, BodyError, BodyLimits, Handler, Left, Peer};
use crate::ingest;
use crate::mappings;
use crate::metrics::Answered;
use crate::refusal::{NotReady, Refusal, Voice, json};
use crate::rooms::{Doors, Rooms};
use crate::route::{Destination, LOGS, Requirement, Route, route, traced_by, traffic_of};
use crate::services::ResourceNames;
use crate::streams::traffic_report;

/// A longer tracing header is none: the service's own has some 100 bytes.
const MAX_TRACE_BYTES: usize = 512;
/// Of what a client calls itself; CloudTrail keeps no more.
const MAX_AGENT_CHARACTERS: usize = 1_024;
/// A function's package of 50 MB in base64, and its settings ("Lambda quotas").
const LARGE_BODY_BYTES: usize = 70 << 20;
/// Of a request that anybody may send; none needs a body.
const PUBLIC_BODY_BYTES: usize = 1 << 10;
/// The signing name of the search API.
const SEARCH: &str = "es";
/// The signing name of Tidegate's own routes.
const CONSOLE: &str = "tidegate";

/// Everything that a request needs.
pub(crate) struct App {
    env: Env,
    account: AccountId,
    default_region: Region,
    bodies: BodyLimits,
    max_body: usize,
    gate: Gate,
    doors: OnceLock<Doors>,
    stopping: CancellationToken,
}

/// What a request turned out to be, for the metrics.
struct Note {
    service: &'static str,
    operation: &'static str,
}

impl Handler for App {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let started = self.env.clock.instant();
        let request_id = self.env.rng.uuid();
        let mut note = Note { service: "tidegate", operation: "unknown" };
        let (mut response, bytes_in) = self.take(request, &request_id, &mut note).await;
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().entry(HeaderName::from_static("x-amzn-requestid")).or_insert(id);
        }
        let took = self.env.clock.instant().saturating_sub(started);
        tell(&note, &response, &request_id, took);
        crate::metrics::answered(&Answered {
            service: note.service,
            operation: note.operation,
            status: response.status().as_u16(),
            took,
            bytes_in,
            bytes_out: match response.body() {
                Body::Whole(bytes) => bytes.len(),
                Body::Events(_) => 0,
            },
        });
        response.map(|body| self.leaving(body, note.service))
    }
}

/// Our own failures are the operator's business; everything else is the caller's, and so is a server that starts or
/// stops.
fn tell(note: &Note, response: &Response<Body>, request_id: &str, took: Duration) {
    let (Note { service, operation }, status) = (note, response.status().as_u16());
    let error = response.extensions().get::<wire::ServiceError>().map(ToString::to_string).unwrap_or_default();
    let not_ready = response.extensions().get::<NotReady>().is_some();
    if matches!(status, 500 | 502..=599) && !not_ready {
        tracing::warn!(service, operation, status, request_id, ?took, error, "a call failed");
    } else {
        tracing::debug!(service, operation, status, request_id, ?took, error, "answered");
    }
}

/// The answer to a refused request, in the form of the service that it means.
fn refused(
    refusal: &Refusal,
    head: &Parts,
    service: Option<&str>,
    request_id: &str,
    note: &mut Note,
) -> Response<Body> {
    let voice = Voice::of(head, service);
    note.service = voice.name();
    refusal.answer(voice, request_id).map(Into::into)
}

fn unread(error: &BodyError) -> Refusal {
    let reason = error.to_string();
    match error {
        BodyError::TooLarge { .. } => Refusal::TooLarge(reason),
        BodyError::TooSlow | BodyError::Broken => Refusal::TooSlow(reason),
        BodyError::Overloaded => Refusal::Overloaded(reason),
    }
}

impl App {
    /// The application before its rooms are open: it knows callers, and tells them to wait.
    pub fn new(config: &Config, env: Env, root: RootKey, sessions: Arc<SessionStore>) -> Self {
        let server = &config.server;
        let skew = Duration::from_secs(config.auth.max_skew_seconds);
        Self {
            account: config.account.id.clone(),
            default_region: config.account.region.clone(),
            bodies: BodyLimits::new(
                Arc::clone(&env.clock),
                server.max_inflight_bytes.max(BodyLimits::share(LARGE_BODY_BYTES.max(server.max_body_bytes))),
                Duration::from_secs(server.body_seconds),
            ),
            max_body: server.max_body_bytes,
            gate: Gate::new(Arc::clone(&env.clock), root, sessions, skew),
            doors: OnceLock::new(),
            stopping: CancellationToken::new(),
            env,
        }
    }

    /// From now on calls reach the rooms.
    pub fn ready(&self, rooms: &Rooms) {
        self.gate.know(Arc::new(rooms.identities.clone()));
        // A server opens its rooms once.
        let _ = self.doors.set(rooms.doors());
    }

    /// From now on the health check tells balancers to look elsewhere, and answers that go on and on end.
    pub fn stopping(&self) {
        self.stopping.cancel();
        if let Some(doors) = self.doors.get() {
            doors.rooms.flow.queues.stop_waiting();
        }
    }

    /// A body on its way out. A stream ends at a stop at the latest, and its bytes are counted as they leave.
    fn leaving(&self, body: Body, service: &'static str) -> AnswerBody {
        match body {
            Body::Whole(bytes) => bytes.into(),
            Body::Events(frames) => {
                let until_stop = frames.take_until(self.stopping.clone().cancelled_owned());
                let counted = until_stop.inspect(move |frame| crate::metrics::sent(service, frame.len()));
                AnswerBody::stream(counted.boxed())
            }
        }
    }

    /// Reads the body of a request whose head is not turned away, and answers. Also says how many bytes it had.
    async fn take(&self, request: Request<Incoming>, request_id: &str, note: &mut Note) -> (Response<Body>, usize) {
        let (head, body) = request.into_parts();
        let route = route(&head);
        let looked = match self.gate.look(route.requirement, &head) {
            Ok(looked) => looked,
            Err(away) => {
                self.bodies.discard(body).await;
                return (refused(&away.refusal, &head, away.claimed_service.as_deref(), request_id, note), 0);
            }
        };
        let limit = match (route.requirement, route.large) {
            (Requirement::Public, _) => PUBLIC_BODY_BYTES,
            (_, true) => self.max_body.max(LARGE_BODY_BYTES),
            (_, false) => self.max_body,
        };
        // The body's share of the memory bound is held until the answer's head is there.
        let mut held = match self.bodies.read(body, limit).await {
            Ok(held) => held,
            Err(error) => return (refused(&unread(&error), &head, None, request_id, note), 0),
        };
        let len = held.bytes.len();
        let answer = match looked.admit(&held.bytes, self.env.clock.now()) {
            Ok(caller) => {
                if let Err(error) = self.bodies.proven(&mut held) {
                    return (refused(&unread(&error), &head, None, request_id, note), len);
                }
                self.answer(route, caller, Request::from_parts(head, held.bytes.clone()), request_id, note).await
            }
            Err(away) => refused(&away.refusal, &head, away.claimed_service.as_deref(), request_id, note),
        };
        (answer, len)
    }

    async fn answer(
        &self,
        route: &'static Route,
        caller: Caller,
        mut request: Request<Bytes>,
        request_id: &str,
        note: &mut Note,
    ) -> Response<Body> {
        if route.destination == Destination::Health {
            note.operation = "Health";
            return self.health().map(Into::into);
        }
        if let Some(plain) = wire::sigv4::without_signature(request.uri()) {
            *request.uri_mut() = plain;
        }
        let service = caller.service.clone();
        match self.serve(route.destination, caller, &request, request_id, note).await {
            Ok(response) => response,
            Err(refusal) => refused(&refusal, &request.into_parts().0, service.as_deref(), request_id, note),
        }
    }

    fn health(&self) -> Response<Bytes> {
        let (status, word) = match (self.stopping.is_cancelled(), self.doors.get()) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            (false, None) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            (false, Some(_)) => (StatusCode::OK, "ready"),
        };
        let mut answer = json(status, &serde_json::json!({"status": word, "version": env!("CARGO_PKG_VERSION")}));
        if status != StatusCode::OK {
            answer.extensions_mut().insert(NotReady);
        }
        answer
    }

    /// Answers an admitted request, once it is also permitted.
    async fn serve(
        &self,
        destination: Destination,
        caller: Caller,
        request: &Request<Bytes>,
        request_id: &str,
        note: &mut Note,
    ) -> Result<Response<Body>, Refusal> {
        let region = caller.region.unwrap_or_else(|| self.default_region.clone());
        let scope = Scope { account: self.account.clone(), region };
        let doors = self.doors.get().ok_or(Refusal::NotReady)?;
        let call = Call {
            scope,
            principal: caller.principal,
            request_id: request_id.to_owned(),
            now: self.env.clock.now(),
            endpoint: doors.rooms.endpoints.of(request),
            trace: trace_of(request),
            source_ip: request.extensions().get::<Peer>().map(|peer| peer.address),
            secure: request.extensions().get::<Peer>().is_some_and(|peer| peer.secure),
            user_agent: agent_of(request),
            access_key_id: caller.access_key_id,
            left: request.extensions().get::<Left>().cloned().unwrap_or_default().0,
        };
        let session = caller.session;
        let narrowed = session.as_deref().map(Session::narrows).unwrap_or_default();
        let console = |note: &mut Note, operation: &'static str| {
            *note = Note { service: CONSOLE, operation };
            if caller.service.as_deref().is_some_and(|service| service != CONSOLE) {
                let reason = format!("this path is signed for the service '{CONSOLE}'");
                return Err(Refusal::WrongService(reason));
            }
            permit(doors, &call, narrowed, (&format!("{CONSOLE}:{operation}"), "*"))
        };
        // A request's work is moved to where it stays: what few calls need is kept from making all of them large.
        match destination {
            Destination::Health => Ok(self.health().map(Into::into)),
            Destination::Metrics => {
                console(note, "Metrics")?;
                Ok(doors.rooms.metrics().map(Into::into))
            }
            Destination::IngestCloudTrail => {
                console(note, "IngestCloudTrail")?;
                let ingested = Box::pin(ingest::cloudtrail(&doors.rooms.flow.buses, &call.scope, request.body()));
                Ok(ingested.await.map(Into::into))
            }
            Destination::FunctionLog => {
                console(note, "ReadFunctionLog")?;
                Ok(Box::pin(function_log(doors, &call.scope, request.uri())).await?.map(Into::into))
            }
            Destination::StreamTraffic => {
                console(note, "DescribeStreamTraffic")?;
                stream_traffic(&doors.rooms, &call.scope, request.uri().path()).map(|answer| answer.map(Into::into))
            }
            Destination::EventTrace => {
                console(note, "TraceEvent")?;
                Box::pin(event_trace(doors, &call.scope, request.uri().path()))
                    .await
                    .map(|answer| answer.map(Into::into))
            }
            Destination::Mappings => {
                console(note, mappings::operation(request))?;
                Box::pin(mappings::answer(&doors.rooms.flow.mappings, &call.scope, request))
                    .await
                    .map(|answer| answer.map(Into::into))
            }
            Destination::Access => {
                console(note, access::operation(request.uri().path()))?;
                Ok(access::answer(&doors.rooms.authority, request).map(Into::into))
            }
            Destination::Unknown => {
                console(note, "Unknown")?;
                Err(Refusal::NotFound(format!("there is nothing at {}", request.uri().path())))
            }
            Destination::ConfirmationLink => {
                Box::pin(self.link(doors, call, request, ("ConfirmSubscription", "TopicArn"), note)).await
            }
            Destination::UnsubscribeLink => {
                Box::pin(self.link(doors, call, request, ("Unsubscribe", "SubscriptionArn"), note)).await
            }
            Destination::SigningCertificate => {
                *note = Note { service: CONSOLE, operation: "SigningCertificate" };
                Box::pin(certificate(&doors.rooms, request.uri().path())).await
            }
            Destination::Search => Box::pin(self.search(doors, (&call, narrowed), request, note)).await,
            Destination::Aws => match caller.service.as_deref() {
                Some(SEARCH) => Box::pin(self.search(doors, (&call, narrowed), request, note)).await,
                Some(service) => self.aws(doors, (&call, narrowed), service, request, note).await,
                None => Err(Refusal::missing_token()),
            },
        }
    }

    async fn aws(
        &self,
        doors: &Doors,
        (call, narrowed): (&Call, Narrowed<'_>),
        service: &str,
        request: &Request<Bytes>,
        note: &mut Note,
    ) -> Result<Response<Body>, Refusal> {
        let operation = match wire::identify(service, request) {
            Ok(operation) => operation,
            Err(Unidentified::Service) => return Err(Refusal::NoSuchService(service.to_owned())),
            Err(Unidentified::Operation { service, error }) => {
                note.service = service.model().name;
                return Ok(wire::protocol::refuse(
                    service.model(),
                    wire::Encoding::of(request.headers()),
                    &error,
                    &call.request_id,
                )
                .map(Into::into));
            }
        };
        *note = Note { service: operation.service.model().name, operation: operation.name };
        let names = ResourceNames(&doors.rooms);
        let (authority, audit) = (&doors.rooms.authority, &doors.rooms.audit);
        let guard = Guard { authority, narrowed, names: &names, audit, by_link: false };
        Ok(doors.services.call(&guard, call, operation, request).await)
    }

    async fn search(
        &self,
        doors: &Doors,
        (call, narrowed): (&Call, Narrowed<'_>),
        request: &Request<Bytes>,
        note: &mut Note,
    ) -> Result<Response<Body>, Refusal> {
        // The actions of a search domain are its HTTP methods ("Identity and Access Management in Amazon OpenSearch Service").
        let action = match request.method().as_str() {
            "GET" => "ESHttpGet",
            "HEAD" => "ESHttpHead",
            "POST" => "ESHttpPost",
            "PUT" => "ESHttpPut",
            "DELETE" => "ESHttpDelete",
            "PATCH" => "ESHttpPatch",
            _ => "ESHttpOther",
        };
        *note = Note { service: SEARCH, operation: action };
        // The embedded index is every domain of the account; a path of it is a resource of its own.
        let (Scope { account, region }, path) = (&call.scope, request.uri().path().trim_start_matches('/'));
        let resource = format!("arn:aws:es:{region}:{account}:domain/{CONSOLE}/{path}");
        permit(doors, call, narrowed, (&format!("{SEARCH}:{action}"), &resource))?;
        Ok(doors.rooms.index.handle(&call.scope, request.clone()).await.map(Into::into))
    }

    /// A link of a message to a topic's subscriber: what it names is its proof, and an ARN says where it belongs.
    async fn link(
        &self,
        doors: &Doors,
        mut call: Call,
        request: &Request<Bytes>,
        (operation, of): (&str, &str),
        note: &mut Note,
    ) -> Result<Response<Body>, Refusal> {
        let model = ServiceId::Sns.model();
        // Looked up by name: whatever else the query says, a route does nothing but its operation.
        let operation = model.operation(operation).ok_or_else(Refusal::missing_token)?;
        *note = Note { service: model.name, operation: operation.name };
        if let Some(scope) = scope_of(request.uri().query().unwrap_or_default(), of) {
            call.scope.region = scope.region;
        }
        let names = ResourceNames(&doors.rooms);
        let (authority, narrowed, audit) = (&doors.rooms.authority, Narrowed::default(), &doors.rooms.audit);
        let guard = Guard { authority, narrowed, names: &names, audit, by_link: true };
        Ok(doors.services.call(&guard, &call, operation, request).await)
    }
}

/// Whether a call may, that is of no service's model: an action on a resource.
fn permit(doors: &Doors, call: &Call, narrowed: Narrowed<'_>, asked: (&str, &str)) -> Result<(), Refusal> {
    let (told, (action, resource)) = (Told::of_call(call), asked);
    let access = Access { principal: &call.principal, action, resource, context: &told.pairs() };
    match doors.rooms.authority.decide_in(&access, narrowed) {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => Err(Refusal::Denied(reason)),
    }
}

/// A function's log, by the path's rest.
async fn function_log(doors: &Doors, scope: &Scope, uri: &http::Uri) -> Result<Response<Bytes>, Refusal> {
    let name = uri.path().strip_prefix(LOGS).unwrap_or_default();
    let Ok(function) = name.parse::<FunctionName>() else {
        return Err(Refusal::NotFound(format!("there is nothing at {}", uri.path())));
    };
    let exists = doors.rooms.functions.get(scope, &function).is_ok();
    doors.rooms.logs.answer(scope, name, uri.query().unwrap_or_default(), exists).await
}

/// The request's tracing header, as a function gets it.
fn trace_of(request: &Request<Bytes>) -> Option<String> {
    let value = request.headers().get("x-amzn-trace-id")?.to_str().ok()?;
    (value.len() <= MAX_TRACE_BYTES).then(|| value.to_owned())
}

/// What the client calls itself, as far as it is kept.
fn agent_of(request: &Request<Bytes>) -> Option<String> {
    let agent = request.headers().get(USER_AGENT)?.to_str().ok()?;
    Some(agent.chars().take(MAX_AGENT_CHARACTERS).collect())
}

/// The way of an event, by its id.
async fn event_trace(doors: &Doors, scope: &Scope, path: &str) -> Result<Response<Bytes>, Refusal> {
    let id = percent_encoding::percent_decode_str(traced_by(path).unwrap_or_default()).decode_utf8();
    let id = id.map_err(|_| Refusal::NotFound(format!("there is nothing at {path}")))?;
    match doors.rooms.flow.buses.trace(scope, &id).await {
        Ok(way) => Ok(json(StatusCode::OK, &serde_json::json!(way))),
        Err(error) => {
            tracing::error!(%error, "the way of an event cannot be read");
            Ok(json(StatusCode::INTERNAL_SERVER_ERROR, &serde_json::json!({"message": error.to_string()})))
        }
    }
}

/// The last minute of a stream's shards.
fn stream_traffic(rooms: &Rooms, scope: &Scope, path: &str) -> Result<Response<Bytes>, Refusal> {
    let name = traffic_of(path).unwrap_or_default().to_owned();
    let key = StreamKey { kind: StreamKind::Kinesis, scope: scope.clone(), name };
    let stream = rooms.log.stream(&key).map_err(|_| Refusal::NotFound(format!("there is nothing at {path}")))?;
    Ok(json(StatusCode::OK, &traffic_report(&rooms.streams, &stream)))
}

/// The certificate that notifications are verified by.
async fn certificate(rooms: &Rooms, path: &str) -> Result<Response<Body>, Refusal> {
    let nothing = || Refusal::NotFound(format!("there is nothing at {path}"));
    let pem = rooms.signing.certificate(path).await.ok_or_else(nothing)?;
    let mut answer = Response::new(Body::Whole(pem.into()));
    let kind = HeaderValue::from_static("application/x-pem-file");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(answer)
}

/// Where the topic of a link lives, by the parameter that names it.
fn scope_of(query: &str, name: &str) -> Option<Scope> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let arn: Arn = percent_encoding::percent_decode_str(value).decode_utf8().ok()?.parse().ok()?;
    arn.scope()
}
