//! A hub whose ports are taken.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use crate::{
    figures::Figures,
    fixture::{CountFile, service, services},
    hub::Hub,
    processes,
    tools::turn,
};

#[tokio::test]
async fn f13_a_taken_port_ends_the_start_in_one_line() {
    let _turn = turn().await;
    let figures = Figures::of("F13", "a port of the hub is in use");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let pid = std::process::id().to_string();
    for (flag, args) in [
        ("--port", &["--transport", "both", "--port", &port][..]),
        ("--admin-port", &["--admin", "--port", "0", "--admin-port", &port]),
    ] {
        let builder = Hub::builder();
        let counted = CountFile::of(builder.folder());
        let mark = builder.folder().join("tmp").display().to_string();
        let yaml = services(&[service("fix", "", &["--count-file", counted.path()])]);
        let begun = Instant::now();
        let ended = builder.config(&yaml).run(args, Duration::from_secs(10)).await;
        figures.at_most("from start to exit", begun.elapsed(), Duration::from_secs(1));
        figures.exactly("exit code", usize::try_from(ended.code.unwrap()).unwrap(), 78_usize);
        figures.exactly("lines on stderr", ended.stderr.lines().count(), 1_usize);
        for part in [port.as_str(), pid.as_str(), flag] {
            assert!(ended.stderr.contains(part), "no {part} in {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "");
        // Looked for at once: nothing was started, so nothing has to end first.
        figures.exactly(
            "processes started",
            counted.lines().len() + processes::marked(&mark).len(),
            0_usize,
        );
    }
}
