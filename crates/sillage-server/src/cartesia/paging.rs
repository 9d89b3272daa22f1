//! Lists in pages, by the id of an element before or after them, and queries.

use crate::fault::Fault;
use crate::keys::Owner;
use axum::http::Uri;
use serde_json::{Value, json};

/// Elements of a page where a client does not say.
const USUAL: usize = 10;
const MOST: usize = 100;

/// The fields of a query, in order; a name may be there several times.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let parsed = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        Self(parsed.map(|q| q.0).unwrap_or_default())
    }

    /// The first field of a name, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.trim()).filter(|v| !v.is_empty())
    }

    /// Whether a list field, written `name[]=a&name[]=b` or `name=a,b`, has `value`.
    pub(super) fn lists(&self, name: &str, value: &str) -> bool {
        let named = |n: &str| n.split('[').next() == Some(name);
        let mut fields = self.0.iter().filter(|(n, _)| named(n));
        fields.any(|(_, v)| v.split(',').any(|v| v.trim() == value))
    }

    /// A field that is yes or no.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
}

/// The page of `all` that a query asks for, its elements told by `tell`.
///
/// # Errors
/// If the limit is no number, or the element it goes on from is not there:
/// going on from the beginning would never end.
pub(super) fn page<T>(
    all: &[T],
    query: &Query,
    id: impl Fn(&T) -> &str,
    tell: impl Fn(&T) -> Value,
) -> Result<Value, Fault> {
    let limit = match query.get("limit").map(str::parse::<usize>) {
        None => USUAL,
        Some(Ok(limit)) => limit.clamp(1, MOST),
        Some(Err(_)) => {
            let message = format!("limit is a number from 1 to {MOST}");
            return Err(Fault::bad("limit", message));
        }
    };
    let place = |field: &str| {
        let Some(wanted) = query.get(field) else {
            return Ok(None);
        };
        let found = all.iter().position(|one| id(one) == wanted);
        let missing = || {
            let shown = crate::fault::shown(wanted, 80);
            let message = format!(
                "{field}: there is no '{shown}' in this list (any more): list again from its beginning"
            );
            Fault::bad(field, message)
        };
        found.map(Some).ok_or_else(missing)
    };
    let (from, to, has_more) = match (place("starting_after")?, place("ending_before")?) {
        (_, Some(end)) => (end.saturating_sub(limit), end, end > limit),
        (after, None) => {
            let from = after.map_or(0, |at| at + 1);
            let to = (from + limit).min(all.len());
            (from, to, to < all.len())
        }
    };
    let shown = &all[from..to];
    let next = shown.last().filter(|_| has_more).map(id);
    let data: Vec<Value> = shown.iter().map(tell).collect();
    Ok(json!({ "data": data, "has_more": has_more, "next_page": next }))
}

/// What all ids of an owner's records of one kind begin with.
pub(super) fn prefix(kind: &str, owner: Owner) -> String {
    format!("{kind}_{:08x}", owner.0)
}

/// The id of a new record. Ids tell whose a record is and sort by time, so that
/// lists need not read them all.
pub(super) fn new_id(kind: &str, owner: Owner) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let (prefix, now) = (prefix(kind, owner), crate::now());
    format!("{prefix}{now:010x}{}", &random[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(query: &str) -> Result<(Vec<String>, bool, Value), Fault> {
        let all = ["a", "b", "c", "d", "e"];
        let query = Query::of(&format!("/x?{query}").parse().unwrap());
        let page = page(&all, &query, |one| one, |one| json!(one))?;
        let data = serde_json::from_value(page["data"].clone()).unwrap();
        Ok((data, page["has_more"] == true, page["next_page"].clone()))
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
        // As clients do that never look at has_more.
        loop {
            let (data, ..) = ids(&query).unwrap();
            let Some(last) = data.last() else { break };
            query = format!("limit=2&starting_after={last}");
            seen.extend(data);
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
        assert_eq!(
            ids("limit=2").unwrap(),
            (vec!["a".into(), "b".into()], true, json!("b"))
        );
        assert!(!ids("").unwrap().1);
        let before = ids("limit=2&ending_before=d").unwrap();
        assert_eq!(
            (before.0, before.1),
            (vec!["b".to_owned(), "c".to_owned()], true)
        );
        assert!(ids("starting_after=x").unwrap_err().message.contains("'x'"));
        assert!(ids("limit=many").is_err());
        assert_eq!(ids("limit=0").unwrap().0.len(), 1);
    }

    #[test]
    fn queries_have_lists() {
        let query = Query::of(
            &"/x?expand[]=embedding&expand%5B%5D=other&a=&is_owner=true"
                .parse()
                .unwrap(),
        );
        assert!(query.lists("expand", "embedding") && query.lists("expand", "other"));
        assert!(!query.lists("expand", "a") && query.get("a").is_none());
        assert_eq!(query.flag("is_owner"), Some(true));
    }

    #[test]
    fn ids_sort_by_time_and_tell_whose_they_are() {
        let id = new_id("file", Owner(7));
        assert!(id.starts_with(&prefix("file", Owner(7))));
        crate::records::check_id(&id).unwrap();
    }
}
