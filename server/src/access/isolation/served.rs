//! Which routes a router serves, read from the router itself, so that none can be forgotten.

use std::collections::BTreeMap;

use axum::Router;

/// A route that is served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    /// Pattern of the address, such as `/v1/runs/{run}`.
    pub path: String,
    /// Methods, `HEAD` left out; empty where every method is taken.
    pub methods: Vec<String>,
}

impl Served {
    /// Returns the names of the parameters in the pattern.
    pub fn parameters(&self) -> Vec<&str> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
    }
}

/// Lists the routes of a router by path.
///
/// axum lends them in no other way than its `Debug` text, which `Cargo.lock` fixes; a text that does not
/// read as one gives an empty list, which every caller takes as a failure.
pub fn served<S>(router: &Router<S>) -> Vec<Served> {
    let text = format!("{router:?}");
    let Some((_, rest)) = text.split_once("routes: {") else { return Vec::new() };
    let Some((routes, rest)) = rest.split_once("node: Node { paths: {") else { return Vec::new() };
    let Some((paths, _)) = rest.split_once('}') else { return Vec::new() };
    // A pattern holds braces itself, so the end of the list is looked for after its last quote.
    let paths = rest.split_once("\"} }").map_or(paths, |(whole, _)| whole);
    let mut methods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for part in routes.split("RouteId(").skip(1) {
        let Some((id, route)) = part.split_once(')') else { continue };
        let allowed =
            route.split_once("allow_header: Bytes(b\"").and_then(|(_, rest)| rest.split_once('"'));
        let allowed = allowed.map_or("", |(allowed, _)| allowed);
        let names = allowed.split(',').filter(|name| !matches!(*name, "" | "HEAD"));
        methods.insert(id, names.map(str::to_owned).collect());
    }
    let mut list: Vec<Served> = paths
        .split("RouteId(")
        .skip(1)
        .filter_map(|part| {
            let (id, rest) = part.split_once("): \"")?;
            let path = rest.split_once('"').map_or(rest, |(path, _)| path).to_owned();
            Some(Served { path, methods: methods.get(id)?.clone() })
        })
        .collect();
    list.sort();
    list
}

#[cfg(test)]
mod tests {
    use axum::routing::{any, get, post};

    use super::*;

    #[test]
    fn every_route_and_method_of_merged_and_nested_routers_is_listed() {
        let inner: Router = Router::new().route("/b/{c}", post(|| async {}).delete(|| async {}));
        let router: Router = Router::new()
            .route("/a", get(|| async {}).put(|| async {}))
            .route("/any/{*rest}", any(|| async {}))
            .merge(inner.clone())
            .nest("/deep/{x}", inner)
            .layer(axum::extract::DefaultBodyLimit::max(1));
        let found = served(&router);
        let paths: Vec<(&str, Vec<&str>)> = found
            .iter()
            .map(|route| (route.path.as_str(), route.methods.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            paths,
            [
                ("/a", vec!["GET", "PUT"]),
                ("/any/{*rest}", vec![]),
                ("/b/{c}", vec!["POST", "DELETE"]),
                ("/deep/{x}/b/{c}", vec!["POST", "DELETE"]),
            ]
        );
        assert_eq!(found[3].parameters(), ["x", "c"]);
    }
}
