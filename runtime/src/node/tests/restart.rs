//! What survives a crash.

use super::*;

#[tokio::test]
async fn accepted_jobs_run_after_a_crash_and_results_stay() {
    let grid = Grid::start("[node]\nslots = 1\n[unsigned]\nvms = 4").await;
    let client = grid.client(1).await;
    let done = client.run(&with_input(job("done", "echo"), b"kept"), b"kept").await;
    client.submit(&job("blocks", "hang"), b"").await.unwrap();
    client.submit(&with_input(array("waits", "echo {index}", 3), b"in"), b"in").await.unwrap();
    let key = grid.node.key();
    let grid = grid.crash_and_start("[node]\nslots = 4").await;
    assert_eq!(grid.node.key(), key);
    let client = grid.client(1).await;
    let waits = client.follow("waits").await;
    assert_eq!(waits.len(), 4);
    assert!(waits.values().all(|seen| seen.output[&Channel::Output] == b"in"));
    let again = client.follow("done").await;
    assert_eq!(again[&0].result, done.result);
    assert!(!client.submit(&with_input(job("done", "echo"), b"kept"), b"kept").await.unwrap().0);
    client.answer(&Request::Cancel("blocks".parse().unwrap())).await;
    assert_eq!(client.follow("blocks").await[&0].result.as_ref().unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn an_array_goes_on_where_it_was() {
    let grid = Grid::start("[node]\nslots = 2").await;
    let client = grid.client(1).await;
    client.submit(&array("a", "echo {index}", 999), b"").await.unwrap();
    while client.status("a").await.succeeded < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let grid = grid.crash_and_start("").await;
    let client = grid.client(1).await;
    assert!(client.status("a").await.succeeded >= 100);
    assert_eq!(client.follow("a").await.len(), 1000);
    let status = client.status("a").await;
    assert_eq!((status.succeeded, status.failed), (1000, 0));
}

#[tokio::test]
async fn a_second_node_on_the_same_data_is_refused() {
    let grid = Grid::start("").await;
    let options = NodeOptions {
        data: grid.data.path().join("data"),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        policy: None,
    };
    let error = Node::start_with(options, FAKE).await.unwrap_err();
    assert!(error.to_string().contains("another node"), "{error}");
}

#[tokio::test]
async fn results_expire_and_take_their_files_along() {
    let grid = Grid::start("[node]\nresults_expire = \"0s\"").await;
    let client = grid.client(1).await;
    let input = vec![1; 100_000];
    client.run(&with_input(job("j", "print 1000000"), &input), &input).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    grid.node.engine.expire().await.unwrap();
    assert!(matches!(client.answer(&Request::Status("j".parse().unwrap())).await, Response::Refused(_)));
    for directory in ["bundles", "inputs", "outputs", "tmp"] {
        let left = std::fs::read_dir(grid.data.path().join("data").join(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory}");
    }
    assert_eq!(grid.node.engine.store.files.bytes(), 0);
}
