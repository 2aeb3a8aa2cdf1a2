//! Files that change while the hub runs.

use std::{fs, time::Duration};

use super::place::Place;
use crate::config::{Flags, Watcher};

#[tokio::test(start_paused = true)]
async fn a_broken_file_is_refused_and_the_next_good_one_taken() {
    let place = Place::with("mcpvisor.yaml", "services: {a: {command: x}}\n");
    let loaded = place.load().unwrap();
    let (watcher, reload, mut follow) = Watcher::new_in(&Flags::default(), &loaded, place.surroundings.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let body = async {
        place.write("mcpvisor.yaml", "services: {a: {comand: x}}\n");
        assert!(
            tokio::time::timeout(Duration::from_secs(5), follow.changed())
                .await
                .is_err()
        );
        place.write("mcpvisor.yaml", "services: {b: {command: x}}\n");
        tokio::time::timeout(Duration::from_secs(5), follow.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(follow.borrow_and_update().services.keys().next().unwrap().as_str(), "b");
        fs::remove_file(place.dir.path().join("mcpvisor.yaml")).unwrap();
        reload.now();
        assert!(
            tokio::time::timeout(Duration::from_secs(5), follow.changed())
                .await
                .is_err()
        );
        place.write(".env.local", "MCPVISOR_HTTP__PORT=1\n");
        place.write("mcpvisor.yaml", "services: {b: {command: x}}\n");
        tokio::time::timeout(Duration::from_secs(5), follow.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(follow.borrow_and_update().http.port, 1);
        stop.send(()).unwrap();
    };
    let stopping = async {
        stopped.await.unwrap();
    };
    tokio::join!(watcher.run(stopping), body);
}
