//! `/`: a page that says what answers where, until the panel is built.

use axum::response::Html;
use http::{HeaderName, header::CONTENT_SECURITY_POLICY};

const PAGE: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mcpvisor</title></head>
<body>
<h1>mcpvisor</h1>
<p>The panel is not part of this build. This door answers at:</p>
<ul>
<li><a href=\"/api/v1/services\">/api/v1/services</a>: what runs, as JSON</li>
<li><a href=\"/metrics\">/metrics</a>: figures for Prometheus</li>
<li><a href=\"/health\">/health</a>, <a href=\"/health/live\">/health/live</a>, <a href=\"/health/ready\">/health/ready</a></li>
</ul>
<p>MCP clients use the other door: <code>/mcp</code>, <code>/sse</code>, <code>/ws</code>, and the same below
<code>/services/{name}/</code>.</p>
</body></html>
";

/// GET `/`.
pub(super) async fn home() -> ([(HeaderName, &'static str); 1], Html<&'static str>) {
    (
        [(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'")],
        Html(PAGE),
    )
}
