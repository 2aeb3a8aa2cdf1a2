//! What finding a tool among many costs, and what a change of the catalog costs.
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use mcpvisor::{
    catalog::{Audience, Catalog, Naming, Presence, Scope},
    config::ServiceName,
    jsonrpc::{Splice, parse},
    mcp::{Era, Features, call_params},
    upstream::{Introduction, ListKind, Offer, Offers, Variant},
};
use serde_json::{json, value::to_raw_value};

const SERVICES: usize = 50;
const TOOLS_EACH: usize = 100;

fn audience() -> Audience {
    Audience {
        scope: Scope::All,
        era: Era::Legacy,
        features: Features::NONE,
    }
}

fn offers(service: usize) -> Arc<Offers> {
    let tools = (0..TOOLS_EACH).map(|tool| {
        let definition = json!({"name": format!("tool_{tool}"), "description": format!("Tool {tool} of service {service}"),
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}});
        Offer::read(ListKind::Tools, &to_raw_value(&definition).unwrap()).unwrap()
    });
    Arc::new(Offers {
        tools: tools.collect(),
        ..Offers::default()
    })
}

fn name_of(service: usize) -> ServiceName {
    format!("service-{service}").parse().unwrap()
}

/// 50 services of 100 tools.
fn catalog() -> Catalog {
    let catalog = Catalog::new(1000);
    let introduction = Arc::new(Introduction {
        revision: "2025-11-25".to_owned(),
        server_info: json!({"name": "bench", "version": "1"}),
        capabilities: json!({"tools": {}}),
        instructions: None,
    });
    for number in 0..SERVICES {
        let service = name_of(number);
        let naming = Naming {
            prefix: Some(service.to_string()),
            keep_when_down: true,
            max_length: 64,
        };
        catalog.configure(&service, naming);
        catalog.learn(&service, Variant::BASE, &introduction, &offers(number));
        catalog.set_presence(&service, Presence::Up);
    }
    catalog
}

fn routing(criterion: &mut Criterion) {
    let catalog = catalog();
    assert_eq!(
        catalog.view(&audience()).table(ListKind::Tools).entries().len(),
        SERVICES * TOOLS_EACH
    );
    let mut group = criterion.benchmark_group("5,000 tools");
    group.bench_function("view and find", |bencher| {
        bencher.iter(|| {
            let view = catalog.view(black_box(&audience()));
            let entry = view.table(ListKind::Tools).find(black_box("service-31__tool_77"));
            entry.unwrap().service.clone()
        });
    });
    let call: Bytes = format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"service-31__tool_77","arguments":{{"text":"{}"}}}}}}"#,
        "x".repeat(230)
    )
    .into();
    group.bench_function("read, find, renumber and splice a call", |bencher| {
        bencher.iter(|| {
            let message = parse(black_box(&call).clone()).unwrap();
            let params = call_params(&message).unwrap();
            let name = params.name.unwrap();
            let exposed = mcpvisor::jsonrpc::text_of(name).unwrap();
            let view = catalog.view(&audience());
            let entry = view.table(ListKind::Tools).find(&exposed).unwrap();
            Splice::new(message.bytes(), 40)
                .replace(&message.id_range().unwrap(), b"4711")
                .replace(
                    &message.span_of(name.get()),
                    entry.original.as_deref().unwrap().as_bytes(),
                )
                .finish()
        });
    });
    group.bench_function("first view after a change", |bencher| {
        let service = name_of(0);
        let mut up = true;
        bencher.iter(|| {
            up = !up;
            catalog.set_presence(&service, if up { Presence::Up } else { Presence::Down });
            catalog.view(&audience())
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

criterion_group! { name = routes; config = short(); targets = routing }
criterion_main!(routes);
