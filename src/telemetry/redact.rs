//! Takes known secret values out of text that somebody may read.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::config::{MASK, Secret};

/// A shorter value also occurs in innocent text; masking it would only spoil the log.
const SHORTEST: usize = 6;

/// Replaces known secrets by `***`. All clones share the same secrets, which may be set anew at any time. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Arc<ArcSwap<Vec<Secret<String>>>>);

impl Redactor {
    /// A redactor that knows `secrets`.
    pub fn new(secrets: &[Secret<String>]) -> Self {
        let redactor = Self::default();
        redactor.set(secrets);
        redactor
    }

    /// Forgets what it knew and knows `secrets`, each also as it looks inside quotes.
    pub fn set(&self, secrets: &[Secret<String>]) {
        let mut known: Vec<String> = secrets
            .iter()
            .flat_map(|secret| forms(secret.expose()))
            .filter(|form| form.len() >= SHORTEST)
            .collect();
        // Longest first: a secret that contains another one goes as a whole.
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
        self.0.store(Arc::new(known.into_iter().map(Secret::new).collect()));
    }

    /// `text` without the secrets; not copied if there are none in it.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in self.0.load().iter() {
            if clean.contains(secret.expose()) {
                clean = Cow::Owned(clean.replace(secret.expose(), MASK));
            }
        }
        clean
    }
}

/// A secret as it is, as JSON writes it, and the password in it if it is an address with one.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    let quoted = serde_json::Value::from(secret).to_string();
    if let Some(inside) = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && inside != secret
    {
        forms.push(inside.to_owned());
    }
    let authority = secret
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let user = authority
        .and_then(|authority| authority.rsplit_once('@'))
        .map(|(user, _)| user);
    if let Some((_, password)) = user.and_then(|user| user.split_once(':')) {
        forms.push(password.to_owned());
    }
    forms
}

/// A writer that redacts what goes through it. Each write must be whole lines, as log layers make them.
#[derive(Debug)]
pub(super) struct Redacting<W> {
    pub(super) inner: W,
    pub(super) redactor: Redactor,
}

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes).map(|text| self.redactor.redact(text)) {
            Ok(Cow::Owned(clean)) => self.inner.write_all(clean.as_bytes())?,
            Ok(Cow::Borrowed(_)) | Err(_) => self.inner.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(&secrets.iter().map(|&s| Secret::new(s.to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn known_secrets_go() {
        let redactor = redactor(&[
            "canary-1",
            "canary-1-longer",
            "short",
            "pa\"ss\\word",
            "pg://u:hidden-7@h/d",
        ]);
        assert_eq!(
            redactor.redact("a canary-1-longer b canary-1 c short"),
            "a *** b *** c short"
        );
        assert_eq!(
            redactor.redact(r#"{"k":"pa\"ss\\word"} hidden-7"#),
            r#"{"k":"***"} ***"#
        );
        assert!(matches!(redactor.redact("nothing"), Cow::Borrowed(_)));
        redactor.set(&[]);
        assert_eq!(redactor.redact("canary-1"), "canary-1");
    }

    proptest! {
        #[test]
        fn no_secret_survives(secret in "[A-Za-z0-9]{6,20}", before in "\\PC{0,10}", after in "\\PC{0,10}") {
            let text = format!("{before}{secret}{after}{secret}");
            prop_assert!(!redactor(&[&secret]).redact(&text).contains(&secret));
        }
    }
}
