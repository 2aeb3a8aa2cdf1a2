//! Calls a tool.

use std::fmt::Write as _;

use rand::RngExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use super::{calculate, countdown::Countdowns, time};
use crate::{
    clock,
    demo::{
        answer::{Answer, Object, object, write_notification},
        session::Request,
    },
    mcp::{ErrorAnswer, LogLevel, method},
};

/// Which log messages the client wants with this call.
#[derive(Clone, Copy, Debug)]
pub(in crate::demo) struct Log {
    /// The least severe; `None` for none at all.
    pub(in crate::demo) level: Option<LogLevel>,
}

/// A tool's own failure, for the model to read.
type Said = Result<Value, String>;

/// Answers `tools/call`.
///
/// # Errors
/// Only for a call that is no call of one of our tools; what a tool has to object to is a result.
pub(in crate::demo) fn call(
    request: &Request<'_>,
    log: Log,
    countdowns: &mut Countdowns,
    out: &mut Vec<u8>,
) -> Result<Answer, ErrorAnswer> {
    let name = request.text("name")?;
    let none = Object::new();
    let arguments = match request.params.get("arguments") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(ErrorAnswer::invalid_params("`arguments` must be an object")),
    };
    let said = match name {
        "echo" => text(arguments, "text").map(|text| json!({"content": [{"type": "text", "text": text}]})),
        "time" => time::tell(optional_text(arguments, "offset"), clock::now_unix_millis()).map(structured),
        "calculate" => text(arguments, "expression")
            .and_then(calculate::evaluate)
            .map(|value| structured(json!({"value": value}))),
        "hash" => hash(arguments),
        "uuid" => uuids(arguments),
        "countdown" => match countdowns.start(request, arguments) {
            Ok(()) => return Ok(Answer::Later),
            Err(said) => Err(said),
        },
        "log" => send_log(arguments, log, out),
        "system_info" => Ok(structured(system_info())),
        _ => {
            return Err(
                ErrorAnswer::invalid_params(format!("there is no tool `{name}`")).with_data(json!({"name": name}))
            );
        }
    };
    Ok(Answer::once(said.unwrap_or_else(
        |objection| json!({"content": [{"type": "text", "text": objection}], "isError": true}),
    )))
}

/// The required argument `name`.
pub(super) fn text<'a>(arguments: &'a Object, name: &str) -> Result<&'a str, String> {
    let value = arguments.get(name).and_then(Value::as_str);
    value.ok_or_else(|| format!("`{name}` must be a string"))
}

fn optional_text<'a>(arguments: &'a Object, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str)
}

/// The argument `name`, between `1` and `most`, or `default` if it is left out.
pub(super) fn count(arguments: &Object, name: &str, default: Option<u64>, most: u64) -> Result<u64, String> {
    let value = match arguments.get(name) {
        None | Some(Value::Null) => default,
        Some(value) => value.as_u64().filter(|value| (1..=most).contains(value)),
    };
    value.ok_or_else(|| format!("`{name}` must be an integer from 1 to {most}"))
}

#[expect(clippy::needless_pass_by_value, reason = "every value is made for this")]
fn structured(value: Value) -> Value {
    json!({"content": [{"type": "text", "text": value.to_string()}], "structuredContent": value})
}

fn plain(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn hash(arguments: &Object) -> Said {
    let bytes = text(arguments, "text")?.as_bytes();
    let digest = match optional_text(arguments, "algorithm").unwrap_or("sha256") {
        "sha224" => Sha224::digest(bytes).to_vec(),
        "sha256" => Sha256::digest(bytes).to_vec(),
        "sha384" => Sha384::digest(bytes).to_vec(),
        "sha512" => Sha512::digest(bytes).to_vec(),
        other => {
            return Err(format!(
                "`algorithm` cannot be `{other}`; sha224, sha256, sha384 and sha512 are known"
            ));
        }
    };
    Ok(plain(&hex(&digest)))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            write!(text, "{byte:02x}").unwrap_or_default();
            text
        })
}

fn uuids(arguments: &Object) -> Said {
    let count = count(arguments, "count", Some(1), 100)?;
    let all: Vec<_> = (0..count).map(|_| uuid(rand::rng().random())).collect();
    Ok(plain(&all.join("\n")))
}

/// `random` with the version and variant bits of RFC 9562, section 5.4.
fn uuid(random: u128) -> String {
    let bits = random & !(0xf << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xffff,
        bits >> 48 & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

fn send_log(arguments: &Object, log: Log, out: &mut Vec<u8>) -> Said {
    let message = text(arguments, "message")?;
    let name = optional_text(arguments, "level").unwrap_or("info");
    let level = LogLevel::from_wire(name).ok_or_else(|| format!("`level` cannot be `{name}`"))?;
    if log.level.is_none_or(|wanted| level < wanted) {
        return Ok(plain(&format!("The client does not want messages at level {name}.")));
    }
    let params = json!({"level": name, "logger": "demo", "data": message});
    write_notification(out, method::LOG_MESSAGE, &object(params));
    Ok(plain(&format!("Sent at level {name}.")))
}

fn system_info() -> Value {
    json!({
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_bytes": memory_bytes(),
        "process_id": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// Memory of the machine; `None` where the system does not tell.
fn memory_bytes() -> Option<u64> {
    let all = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = all.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_version_and_variant() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-4 example: the hash of "abc".
        let said = hash(&object(json!({"text": "abc"}))).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(said["content"][0]["text"], expected);
        assert!(hash(&object(json!({"text": "abc", "algorithm": "md5"}))).is_err());
    }
}
