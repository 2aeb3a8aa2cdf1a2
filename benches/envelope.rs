//! What reading and renumbering one message costs, by its size.
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpvisor::{
    jsonrpc::{LineSplitter, Splice, parse},
    mcp::call_params,
};

/// A `tools/call` of 345 bytes.
fn call() -> Bytes {
    let shell =
        r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"demo__echo","arguments":{"text":""}}}"#;
    let text = "x".repeat(345 - shell.len());
    let whole = shell.replace(r#""text":"""#, &format!(r#""text":"{text}""#));
    assert_eq!(whole.len(), 345);
    whole.into()
}

/// A result of `length` bytes, mostly one text.
fn result(length: usize) -> Bytes {
    let shell = r#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":""}],"isError":false}}"#;
    let text = "lorem ipsum \\n".repeat(length / 12);
    let text: String = text.chars().take(length - shell.len()).collect();
    shell
        .replace(r#""text":"""#, &format!(r#""text":"{}""#, text.replace('\\', "/")))
        .into()
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, message) in [
        ("call of 345 B", call()),
        ("result of 130 B", result(130)),
        ("result of 72 kB", result(72_000)),
    ] {
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse(black_box(&message).clone()).unwrap());
        });
    }
    let message = parse(call()).unwrap();
    group.bench_function("params of a call", |bencher| {
        bencher.iter(|| call_params(black_box(&message)).unwrap());
    });
    group.finish();
}

fn renumbering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("splice");
    for (name, message) in [
        ("id of a 130 B result", result(130)),
        ("id of a 72 kB result", result(72_000)),
    ] {
        let message = parse(message).unwrap();
        group.throughput(Throughput::Bytes(message.bytes().len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&message).with_id("\"client-9\""));
        });
    }
    let message = parse(call()).unwrap();
    let params = call_params(&message).unwrap();
    let (id, name) = (message.id_range().unwrap(), message.span_of(params.name.unwrap().get()));
    group.bench_function("id and name of a call", |bencher| {
        bencher.iter(|| {
            Splice::new(black_box(message.bytes()), 40)
                .replace(&id, b"4711")
                .replace(&name, b"\"echo\"")
                .finish()
        });
    });
    group.finish();
}

fn splitting(criterion: &mut Criterion) {
    let mut lines = Vec::new();
    for _ in 0..16 {
        lines.extend_from_slice(&result(130));
        lines.push(b'\n');
    }
    let mut group = criterion.benchmark_group("lines");
    group.throughput(Throughput::Bytes(lines.len() as u64));
    group.bench_function("16 of 130 B in one read", |bencher| {
        bencher.iter(|| {
            let mut splitter = LineSplitter::new(1 << 20);
            splitter.buffer(lines.len()).extend_from_slice(black_box(&lines));
            let mut count = 0;
            while splitter.next_line().is_some() {
                count += 1;
            }
            assert_eq!(count, 16);
        });
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! { name = envelope; config = short(); targets = reading, renumbering, splitting }
criterion_main!(envelope);
