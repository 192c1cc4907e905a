//! One HTTP request as bytes, and one exchange on a connection of its own.

use std::net::SocketAddr;

use serde_json::Value;

use super::http::{Http, Response};

/// A request with these further headers. A body brings its `Content-Length`, and says that it is JSON
/// unless the headers say otherwise.
pub fn http_request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = body {
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request += "Content-Type: application/json\r\n";
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    } else {
        request += "\r\n";
    }
    request.into_bytes()
}

/// Asks once, on a new connection.
pub async fn ask(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Response {
    let mut http = Http::open(addr).await;
    http.send(&http_request(method, path, headers, body)).await;
    http.response(method == "HEAD").await.expect("an answer")
}

pub async fn post_json(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    ask(addr, "POST", path, headers, Some(&body.to_string())).await
}

/// The body, which must say that it is JSON and be it.
pub fn json_of(response: &Response) -> Value {
    let kind = response.header("content-type").expect("a content type");
    assert!(kind.starts_with("application/json"), "{kind}");
    serde_json::from_str(response.text()).unwrap_or_else(|error| panic!("{error} in {}", response.text()))
}
