//! Where a browser may be sent after a submission: `_next` against a form's list.
//!
//! Holds: a target is compared by its parts (scheme, host with port, path), never as text, and the
//! path matches at a `/`, `?` or its end: `https://a.example/ok` allows `https://a.example/ok/1`
//! and allows neither `https://a.example/okay` nor `https://a.example.evil.example/ok`.
//! Why dot segments are refused: a browser resolves them after we have compared.

use axum::http::{HeaderValue, Uri};

use super::error::{BAD_TARGET, Problem};

/// The target as a header's value, if the list allows it.
pub(super) fn check(allowed: &[String], target: &str) -> Result<HeaderValue, Problem> {
    let is_allowed = Target::parse(target).is_some_and(|target| {
        allowed
            .iter()
            .filter_map(|one| Target::parse(one))
            .any(|one| target.is_within(&one))
    });
    let value = HeaderValue::from_str(target).ok();
    value
        .filter(|_| is_allowed)
        .ok_or_else(|| Problem::new(BAD_TARGET, "_next is not among the targets of this form"))
}

/// Scheme and host with port, for the page's policy; `None`: a path on this node.
pub(super) fn site(allowed: &str) -> Option<String> {
    Target::parse(allowed)?.site
}

#[derive(Debug)]
struct Target {
    /// `https://host:port` in lower case; `None`: this node.
    site: Option<String>,
    path: String,
}

impl Target {
    /// An `http` or `https` address, or a path on this node.
    fn parse(text: &str) -> Option<Self> {
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !is_plain || text.is_empty() {
            return None;
        }
        let (text, _fragment) = text.split_once('#').unwrap_or((text, ""));
        let uri: Uri = text.parse().ok()?;
        let site = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => {
                if authority.as_str().contains('@') {
                    return None;
                }
                Some(format!(
                    "{scheme}://{}",
                    authority.as_str().to_ascii_lowercase()
                ))
            }
            (None, None) => None,
            _ => return None,
        };
        let path = uri.path().to_owned();
        let plain = path.to_ascii_lowercase().replace("%2e", ".");
        let has_dots = plain.split('/').any(|step| step == "." || step == "..");
        if !path.starts_with('/') || path.starts_with("//") || has_dots {
            return None;
        }
        Some(Self { site, path })
    }

    fn is_within(&self, allowed: &Self) -> bool {
        let Some(rest) = self.path.strip_prefix(&allowed.path) else {
            return false;
        };
        let is_whole_step = rest.is_empty() || rest.starts_with('/') || allowed.path.ends_with('/');
        self.site == allowed.site && is_whole_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(target: &str) -> bool {
        let list = [
            "https://a.example/ok",
            "https://b.example",
            "/local/",
            "nonsense",
        ];
        check(&list.map(str::to_owned), target).is_ok()
    }

    #[test]
    fn a_target_within_the_list_is_allowed() {
        for good in [
            "https://a.example/ok",
            "https://A.example/ok?x=1#top",
            "https://a.example/ok/deep/er",
            "https://b.example/anything",
            "https://b.example",
            "/local/thanks.html",
        ] {
            assert!(allows(good), "{good}");
        }
    }

    #[test]
    fn a_foreign_target_is_refused() {
        for bad in [
            "",
            "https://a.example/okay",
            "https://a.example/ok/../evil",
            "https://a.example/ok/%2E%2e/evil",
            "http://a.example/ok",
            "https://a.example:8443/ok",
            "https://a.example.evil.example/ok",
            "https://a.example@evil.example/ok",
            "https://user@a.example/ok",
            "https://b.example.evil.example",
            "//b.example/x",
            "/\\b.example",
            "/local/..//evil.example",
            "//evil.example/local/",
            "/elsewhere",
            "javascript:alert(1)",
            "https://a.example/ok\r\nset-cookie: a=b",
            "https://a.example/ok\nx",
            "nonsense",
            " https://b.example/",
        ] {
            assert!(!allows(bad), "{bad:?}");
        }
    }
}
