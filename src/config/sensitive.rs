//! What probably is a secret although its type does not say so: variables by their names, arguments by the flags
//! before them, values by how they begin.

use super::secret::{MASK, Secret};

/// Parts of the names of variables whose values are secrets.
const WORDS: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "credential",
    "auth",
    "connection_string",
];

/// How well-known tokens begin.
const BEGINNINGS: [&str; 15] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "AIza",
    "ntn_",
];

/// Whether a variable or flag of this name probably holds a secret.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let ends = name.ends_with("_key") || name.ends_with("_pat") || name == "key";
    ends || WORDS.iter().any(|word| name.contains(word))
}

/// Whether a value is an address that carries a password: `scheme://user:password@host`.
pub fn carries_password(value: &str) -> bool {
    let rest = value.split_once("://").map(|(_, rest)| rest);
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority
        .and_then(|authority| authority.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'))
}

/// Whether a value is a secret whatever it is called: a well-known kind of token, an address with a password.
pub fn is_token(value: &str) -> bool {
    let bare = value.strip_prefix("Bearer ").unwrap_or(value);
    let begins = BEGINNINGS
        .iter()
        .any(|beginning| bare.starts_with(beginning) && bare.len() > beginning.len() + 8);
    begins || (bare.len() != value.len() && !bare.is_empty()) || carries_password(value)
}

/// One argument of a program, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// What may be shown: all of it, or `--token=` of `--token=abc`.
    pub open: &'a str,
    /// The secret behind it, if any, and what it is called.
    pub secret: Option<(&'a str, &'a str)>,
}

/// Finds the secrets among arguments: `--token VALUE`, `--token=VALUE`, and what looks like a token anywhere.
pub fn arguments<'a>(args: impl IntoIterator<Item = &'a str>) -> Vec<Argument<'a>> {
    let mut flag: Option<&str> = None;
    let mut found = Vec::new();
    for arg in args {
        let before = flag.take();
        let option = arg.strip_prefix('-').map(|rest| rest.trim_start_matches('-'));
        let (open, secret) = match (option, option.and_then(|option| option.split_once('=')), before) {
            (_, Some((name, value)), _) if !value.is_empty() && (looks_secret(name) || is_token(value)) => {
                (arg.strip_suffix(value).unwrap_or_default(), Some((name, value)))
            }
            (None, _, Some(name)) => ("", Some((name, arg))),
            (None | Some(_), _, None | Some(_)) if is_token(arg) => ("", Some(("token", arg))),
            (None | Some(_), _, None | Some(_)) => {
                flag = option.filter(|name| looks_secret(name) && !name.contains('='));
                (arg, None)
            }
        };
        found.push(Argument { open, secret });
    }
    found
}

/// Arguments as they may be shown.
pub(super) fn masked(args: &[String]) -> Vec<String> {
    let masked = arguments(args.iter().map(String::as_str)).into_iter();
    masked
        .map(|argument| match argument.secret {
            Some(_) => [argument.open, MASK].concat(),
            None => argument.open.to_owned(),
        })
        .collect()
}

/// The secrets among arguments.
pub(super) fn hidden(args: &[String]) -> Vec<Secret<String>> {
    let found = arguments(args.iter().map(String::as_str)).into_iter();
    found
        .filter_map(|argument| argument.secret)
        .map(|(_, value)| Secret::new(value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_secret() {
        for name in [
            "GITHUB_PERSONAL_ACCESS_TOKEN",
            "api-key",
            "OPENAI_API_KEY",
            "PGPASSWORD",
            "key",
            "BASIC_AUTH",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["PATH", "LOG_LEVEL", "KEYBOARD", "PORT"] {
            assert!(!looks_secret(name), "{name}");
        }
        assert!(carries_password("postgres://u:p@h/db"));
        assert!(!carries_password("https://h/x@y:z"));
        assert!(is_token("ghp_0123456789") && is_token("Bearer x") && !is_token("sk-short") && !is_token("npx"));
    }

    #[test]
    fn secrets_among_arguments() {
        let args = [
            "-y",
            "server",
            "--token",
            "one",
            "--key=two",
            "--verbose",
            "ghp_0123456789",
            "--token",
            "--x",
            "y",
        ];
        let args: Vec<String> = args.map(str::to_owned).to_vec();
        let shown = [
            "-y",
            "server",
            "--token",
            "***",
            "--key=***",
            "--verbose",
            "***",
            "--token",
            "--x",
            "y",
        ];
        assert_eq!(masked(&args), shown);
        let secrets: Vec<_> = hidden(&args).iter().map(|secret| secret.expose().clone()).collect();
        assert_eq!(secrets, ["one", "two", "ghp_0123456789"]);
    }
}
