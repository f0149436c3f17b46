//! What the node itself costs, with workers that do nothing. Run by hand:
//! `cargo test --release -p denali -- --ignored --nocapture speed`.

use super::*;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn speed_of_small_jobs() {
    let grid = Grid::start("[node]\nslots = 64").await;
    let client = grid.client(1).await;
    client.run(&job("first", "exit 0"), b"").await;
    let mut times = Vec::new();
    for n in 0..1000 {
        let start = Instant::now();
        client.run(&job(&format!("one-{n}"), "exit 0"), b"").await;
        times.push(start.elapsed());
    }
    times.sort();
    println!("one after the other: median {:?}, p99 {:?}", times[500], times[990]);
    let start = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for task in 0..64 {
        let client = Peer(client.0.clone());
        all.spawn(async move {
            for n in 0..160 {
                client.run(&job(&format!("many-{task}-{n}"), "exit 0"), b"").await;
            }
        });
    }
    all.join_all().await;
    println!("64 in flight: {:.0} jobs a second", 64.0 * 160.0 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    events(client.submit(&array("array", "exit 0", 19_999), b"").await.unwrap().1).await;
    println!("an array: {:.0} jobs a second", 20_000.0 / start.elapsed().as_secs_f64());
}
