//! The tools of a joint venture over the Model Context Protocol, at `/mcp`.
//!
//! A call becomes a run whose plan is that call: the same policy, approvals, budgets, ledger of effects
//! and journal as for a run that a person asked for. An act answers that it waits; nobody's client
//! makes one happen. Calls are stateless: revision 2026-07-28 has no sessions, and clients of earlier
//! revisions are served without one.
//!
//! # Source
//! Model Context Protocol, revisions 2026-07-28 and 2025-11-25, *Streamable HTTP* and *Authorization*;
//! RFC 9728 for the metadata.

mod call;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::tower::{
    StreamableHttpServerConfig, StreamableHttpService,
};
use serde_json::{Map, Value, json};

use crate::access::{Origin, SCOPES};
use crate::auth::Key;
use crate::error::Problem;
use crate::http::MAX_BODY;
use crate::packs::id_of;
use crate::state::AppState;

/// Where RFC 9728 has the metadata of `/mcp`.
const METADATA: &str = "/.well-known/oauth-protected-resource/mcp";

type Service = StreamableHttpService<Server, NeverSessionManager>;

/// Returns the routes.
pub(crate) fn routes(state: &AppState) -> Router<AppState> {
    let own = state.clone();
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY)
        // Host and origin are judged before, by the rules of the whole server.
        .disable_allowed_hosts();
    let service: Service = StreamableHttpService::new(
        move || Ok(Server(own.clone())),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Router::new().route("/mcp", any(serve)).route(METADATA, get(metadata)).layer(Extension(service))
}

/// Tells whether a call names this server: by its public address, or where none is stated by an address
/// of numbers or this very machine, which no other site's name can stand for.
fn names_this_server(origin: &Origin, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let bare = bare.unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name));
    let public = origin.public().and_then(|public| public.split_once("://")).map(|(_, host)| host);
    bare.eq_ignore_ascii_case("localhost")
        || public.map_or_else(
            || bare.parse::<IpAddr>().is_ok(),
            |public| public.eq_ignore_ascii_case(host),
        )
}

async fn serve(
    State(state): State<AppState>,
    Extension(service): Extension<Service>,
    key: Result<Key, Problem>,
    mut request: Request,
) -> Response {
    let origin = &state.access.origin;
    if !origin.is_own(request.headers()) || !names_this_server(origin, request.headers()) {
        let detail = "the `Host` or `Origin` of the call is not this server's; set `--public-url` to the address under which it is reached";
        let (status, title) = (StatusCode::FORBIDDEN, "From another site");
        return Problem::new(status, "foreign_origin", title, detail).into_response();
    }
    match key {
        Ok(key) => {
            request.extensions_mut().insert(Arc::new(key));
            service.handle(request).await.map(axum::body::Body::new)
        }
        Err(problem) => {
            let mut response = problem.into_response();
            let base = origin.base(request.headers());
            let challenge = format!("Bearer resource_metadata=\"{base}{METADATA}\"");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

async fn metadata(State(state): State<AppState>, headers: HeaderMap) -> Json<Value> {
    let base = state.access.origin.base(&headers);
    Json(json!({
        "resource": format!("{base}/mcp"), "resource_name": "Tessera",
        "bearer_methods_supported": ["header"], "scopes_supported": SCOPES,
        "resource_documentation": format!("{base}/v1/openapi.json"),
    }))
}

/// Answers one call.
struct Server(AppState);

fn internal(problem: &Problem) -> ErrorData {
    ErrorData::internal_error(problem.detail.clone(), Some(json!({ "code": problem.code })))
}

/// Returns the key that the call was let in with.
fn key_of(context: &RequestContext<RoleServer>) -> Result<Arc<Key>, ErrorData> {
    let parts = context.extensions.get::<axum::http::request::Parts>();
    let key = parts.and_then(|parts| parts.extensions.get::<Arc<Key>>()).cloned();
    key.ok_or_else(|| internal(&Problem::unauthorized()))
}

fn object(value: Value) -> Arc<Map<String, Value>> {
    Arc::new(match value {
        Value::Object(members) => members,
        _ => Map::new(),
    })
}

impl Server {
    /// Returns the tools of the joint venture that are not switched off.
    async fn tools(&self, key: &Key) -> Result<Vec<Tool>, Problem> {
        let mut tx = self.0.store.begin(key.0.tenant_id).await?;
        let tenant = tx.tenant().await?;
        let agent = self.0.agents.get(&tenant.pack).ok_or_else(Problem::internal)?;
        let mut tools = call::own_tools(id_of(&tenant.pack));
        for spec in &agent.pack().tools {
            if tx.switched_off(&tenant.pack, Some(&spec.name)).await?.is_some() {
                continue;
            }
            let changes = agents::plan::given::changes(spec);
            let input = object(agent.planning().asked_of(spec));
            let hints = ToolAnnotations::with_title(spec.title.clone())
                .read_only(!changes)
                .destructive(changes)
                .idempotent(!changes)
                .open_world(false);
            let mut tool = Tool::new(spec.name.clone(), spec.description.clone(), input)
                .with_title(spec.title.clone())
                .with_annotations(hints);
            if !changes {
                tool = tool.with_raw_output_schema(object(spec.output_schema.clone()));
            }
            tools.push(tool);
        }
        Ok(tools)
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("tessera", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Tools of a joint venture's agent. What changes something waits for a person: the answer then names the run, and `agent_run` tells what became of it.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.tools(&*key_of(&context)?).await.map_err(|problem| internal(&problem))?;
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let key = key_of(&context)?;
        let arguments = request.arguments.unwrap_or_default();
        let called = call::call(&self.0, &key, &request.name, arguments).await;
        called.map(CallToolResponse::from).map_err(|fault| match fault {
            call::Fault::Unknown(name) => {
                ErrorData::invalid_params(format!("there is no tool `{name}`"), None)
            }
            call::Fault::Problem(problem) => internal(&problem),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_public_one_or_cannot_be_anothers_name() {
        let judge = |public: Option<&str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            names_this_server(&Origin::new(public, 0).unwrap(), &headers)
        };
        for host in ["127.0.0.1:7080", "localhost:7080", "[::1]:7080", "10.0.0.7"] {
            assert!(judge(None, host), "{host}");
        }
        assert!(!judge(None, "evil.example:7080"));
        let public = Some("https://agents.example");
        assert!(judge(public, "agents.example") && judge(public, "localhost"));
        assert!(!judge(public, "evil.example") && !judge(public, "10.0.0.7"));
    }
}
