//! The description of all that can be asked: OpenAPI 3.1.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document, kept beside this file and held to the routes by a test.
pub(crate) const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`.
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use super::DOCUMENT;
    use crate::testing::{ask, bytes, common};
    use axum::body::Body;
    use axum::http::Request;
    use serde_json::Value;
    use std::collections::HashSet;
    use std::path::Path;

    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// Every operation, with its path and its method.
    fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in METHODS {
                all.extend(
                    item.get(method)
                        .map(|operation| (path.as_str(), method, operation)),
                );
            }
        }
        all
    }

    /// What all references of a document name.
    fn references<'a>(node: &'a Value, found: &mut HashSet<&'a str>) {
        match node {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn all_that_is_named_is_there_and_all_that_is_there_is_named() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let tags: Vec<&Value> = document["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| &tag["name"])
            .collect();
        let mut ids = HashSet::new();
        for (path, method, operation) in operations(&document) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} is there twice: {method} {path}");
            assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
        let mut named = HashSet::new();
        references(&document, &mut named);
        for reference in &named {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for kind in ["schemas", "responses", "parameters", "headers"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(
                    named.contains(reference.as_str()),
                    "{reference} is not used"
                );
            }
        }
    }

    /// A path with something in the place of its parameters.
    fn filled(path: &str) -> String {
        let (mut filled, mut rest) = (String::new(), path);
        while let Some((before, after)) = rest.split_once('{') {
            filled += before;
            filled += "x";
            rest = after.split_once('}').unwrap().1;
        }
        filled + rest
    }

    #[tokio::test]
    async fn every_operation_is_answered_as_it_says() {
        let app = common();
        let document = document();
        for (path, method, operation) in operations(&document) {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(filled(path));
            let answer = ask(&app, request.body(Body::empty()).unwrap()).await;
            let status = answer.status().as_u16();
            assert!(status != 405, "{method} {path} is no route");
            let told = operation["responses"].get(status.to_string());
            assert!(
                told.is_some(),
                "{method} {path} answers {status}, which it does not say"
            );
            if status == 404 {
                let body = String::from_utf8(bytes(answer).await).unwrap();
                assert!(
                    !body.contains("unknown_path"),
                    "{method} {path} is no route"
                );
            }
        }
    }

    /// Paths that the sources route, as the document writes them.
    fn routed(source: &str, found: &mut HashSet<String>) {
        // What `route` is called with, and the first of a row in a table of routes.
        let calls = source.split(".route(").skip(1);
        let rows = source
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix('('));
        for text in calls.chain(rows) {
            let Some(text) = text.trim_start().strip_prefix('"') else {
                continue;
            };
            let path = text.split('"').next().unwrap();
            if path.starts_with('/') && !path.contains('?') {
                let path = path.replace("{*", "{");
                let whole = path.len() == 1;
                found.insert(if whole {
                    path
                } else {
                    path.trim_end_matches('/').to_owned()
                });
            }
        }
    }

    fn read(folder: &Path, found: &mut HashSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                routed(&std::fs::read_to_string(path).unwrap(), found);
            }
        }
    }

    #[test]
    fn every_route_is_described() {
        let document = document();
        let mut found = HashSet::new();
        read(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert!(found.len() > 50, "{}", found.len());
        let pages = ["/docs", "/playground/{name}"];
        for path in found.iter().filter(|path| !pages.contains(&path.as_str())) {
            assert!(
                document["paths"].get(path).is_some(),
                "{path} is not described"
            );
        }
    }
}
