//! Checks whether the proxy or tunnel in front of the receiver passes requests for functions through.

use std::time::Duration;

use axum::http::{Method, StatusCode, header};

use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::egress;
use crate::live::LEGACY_PATH;
use crate::live::functions::function_path;
use crate::operations::OperationError;
use crate::operations::functions::all_functions;
use crate::privacy::redact;
use crate::view::DoctorFinding;

const CHECK: &str = "function routes";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests the route of one function, and the alias, at `server.url`, which leads to this receiver. `None` without
/// functions or without a public URL.
pub(super) async fn check_function_routes(settings: &Settings) -> Result<Option<DoctorFinding>, OperationError> {
    let Some(url) = settings.server.url.as_ref().map(ToString::to_string) else { return Ok(None) };
    let Some(function) = all_functions(settings)?.into_iter().next() else { return Ok(None) };
    let company = function.companies.first().map(ToString::to_string);
    let company = company.filter(|_| !function.is_available_to(DEFAULT_COMPANY_SLUG));
    let paths = [function_path(company.as_deref(), &function.name), LEGACY_PATH.to_owned()];
    let base = url.trim_end_matches('/');
    for path in &paths {
        if let Some(failure) = probe_route(&format!("{base}{path}")).await? {
            return Ok(Some(route_problem(&redact::url(base), path, &failure, settings.server.port)));
        }
    }
    Ok(Some(DoctorFinding::ok(CHECK, format!("{} passes {} and {} through", redact::url(base), paths[0], paths[1]))))
}

fn route_problem(base: &str, path: &str, failure: &str, port: u16) -> DoctorFinding {
    DoctorFinding::problem(
        CHECK,
        format!(
            "{base}{path}: {failure}; have the proxy pass /api/v1/function/ and {LEGACY_PATH} to port {port}, with \
             the paths unchanged (docs/running.md has samples)"
        ),
    )
}

/// Asks for a method that the route does not have: the receiver answers 405 with the methods that it has, and no
/// function is called. Returns what is wrong with the response.
async fn probe_route(url: &str) -> Result<Option<String>, OperationError> {
    let response = match egress::build_client(REQUEST_TIMEOUT)?.request(Method::OPTIONS, url).send().await {
        Ok(response) => response,
        Err(error) => return Ok(Some(egress::failure_reason(&error).to_owned())),
    };
    let status = response.status();
    let allowed = response.headers().get(header::ALLOW).and_then(|value| value.to_str().ok());
    let is_route = status == StatusCode::METHOD_NOT_ALLOWED && allowed.is_some_and(|methods| methods.contains("POST"));
    Ok((!is_route).then(|| format!("status {} from a server in front of the receiver", status.as_u16())))
}
