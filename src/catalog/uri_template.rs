//! Tells whether a URI may have come from a template (RFC 6570), well enough to route it.

/// A template cut at its expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UriTemplate {
    literals: Vec<Box<str>>,
    ends_open: bool,
}

impl UriTemplate {
    pub(super) fn parse(text: &str) -> Self {
        let mut literals = Vec::new();
        let mut rest = text;
        let mut ends_open = false;
        while let Some((literal, after)) = rest.split_once('{') {
            let Some((_, tail)) = after.split_once('}') else { break };
            literals.push(literal.into());
            rest = tail;
            ends_open = rest.is_empty();
        }
        if !ends_open {
            literals.push(rest.into());
        }
        Self { literals, ends_open }
    }

    /// How many characters of a matching URI are fixed: the more, the better the match.
    pub(super) fn weight(&self) -> usize {
        self.literals.iter().map(|literal| literal.len()).sum()
    }

    /// Whether the literals stand in `uri` in order, the first at its start and the last, if nothing follows it, at its end.
    pub(super) fn matches(&self, uri: &str) -> bool {
        let Some((first, others)) = self.literals.split_first() else {
            return true;
        };
        let Some(mut rest) = uri.strip_prefix(&**first) else {
            return false;
        };
        if others.is_empty() {
            return self.ends_open || rest.is_empty();
        }
        for (index, literal) in others.iter().enumerate() {
            let last = index + 1 == others.len();
            if last && !self.ends_open {
                return rest.ends_with(&**literal);
            }
            match rest.split_once(&**literal) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_what_a_template_makes() {
        for (template, uri, expected) in [
            ("test://template/{id}/data", "test://template/7/data", true),
            ("test://template/{id}/data", "test://template/7/dat", false),
            ("demo://{name}", "demo://a/b", true),
            ("demo://{name}", "other://a", false),
            ("file:///{+path}", "file:///a/b/c", true),
            ("plain://x", "plain://x", true),
            ("plain://x", "plain://xy", false),
            ("a://{b}/c/{d}", "a://1/c/2", true),
            ("a://{b}/c/{d}", "a://1/2", false),
            ("broken://{x", "broken://{x", true),
        ] {
            assert_eq!(UriTemplate::parse(template).matches(uri), expected, "{template} {uri}");
        }
    }
}
