//! What clients can and cannot do to the node and to each other by the way they use their connections.

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Whether the node asks for the bundle of `submit`.
async fn is_bundle_asked_for(client: &Peer, submit: &Submit) -> bool {
    client.answer(&Request::Submit(submit.clone())).await == Response::NeedBundle
}

#[tokio::test]
async fn a_bundle_that_was_refused_is_not_known() {
    let signer = KeyPair::from_seed(&[7; 32]);
    let grid = Grid::start(&format!("[unsigned]\nmemory = \"8MiB\"\n[[signer]]\nkey = \"{}\"", signer.public())).await;
    let stranger = grid.client(1).await;
    assert_eq!(stranger.submit(&job("j", "exit 0"), b"").await.unwrap_err().kind, RefusalKind::Denied);
    let signatures = vec![BundleSignature::sign(&Digest::of(&content()), &signer, u64::MAX)];
    let signed = Submit { signatures, ..job("j", "exit 0") };
    let client = grid.client(2).await;
    assert!(is_bundle_asked_for(&client, &signed).await);
    assert_eq!(client.run(&signed, b"").await.result.unwrap().outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn a_bundle_that_expired_is_asked_for_again() {
    let grid = Grid::start("[node]\nresults_expire = \"0s\"").await;
    let client = grid.client(1).await;
    client.run(&job("j", "exit 0"), b"").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    grid.node.engine.expire().await.unwrap();
    assert_eq!(std::fs::read_dir(grid.data.path().join("data/bundles")).unwrap().count(), 0);
    assert!(is_bundle_asked_for(&client, &job("j", "exit 0")).await);
    assert_eq!(client.run(&job("j", "exit 0"), b"").await.result.unwrap().outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn a_known_bundle_is_checked_before_the_input_is_taken() {
    let signer = KeyPair::from_seed(&[7; 32]);
    let grid = Grid::start(&format!("[unsigned]\nmemory = \"8MiB\"\n[[signer]]\nkey = \"{}\"", signer.public())).await;
    let client = grid.client(1).await;
    let signatures = vec![BundleSignature::sign(&Digest::of(&content()), &signer, u64::MAX)];
    client.run(&Submit { signatures, ..job("j", "exit 0") }, b"").await;
    // None of the input is ever sent.
    let unsigned = with_input(job("k", "exit 0"), &[0; 100_000]);
    let answer = tokio::time::timeout(SOON, client.answer(&Request::Submit(unsigned))).await.unwrap();
    let Response::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.kind, RefusalKind::Denied);
}

#[tokio::test]
async fn followers_that_are_gone_are_forgotten() {
    let grid = Grid::start("").await;
    grid.client(1).await.submit(&Submit { attach: false, ..job("j", "hang") }, b"").await.unwrap();
    for _ in 0..70 {
        let follower = grid.client(1).await;
        let (_, mut receive) = follower.ask(&Request::Follow("j".parse().unwrap())).await;
        let first: Response = read_frame(&mut receive).await.unwrap();
        assert_eq!(first, Response::Event(Event::Started { index: 0 }));
        follower.0.close(0_u32.into(), b"");
    }
    assert_eq!(grid.client(1).await.status("j").await.running, 1);
}

#[tokio::test]
async fn a_follower_that_wants_no_more_frees_its_stream() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    client.submit(&Submit { attach: false, ..job("j", "hang") }, b"").await.unwrap();
    let follow_often = async {
        for _ in 0..200 {
            let (mut send, mut receive) = client.ask(&Request::Follow("j".parse().unwrap())).await;
            assert!(matches!(read_frame(&mut receive).await.unwrap(), Response::Event(Event::Started { .. })));
            receive.stop(0_u32.into()).unwrap();
            send.finish().unwrap();
        }
    };
    tokio::time::timeout(SOON, follow_often).await.unwrap();
}

#[tokio::test]
async fn submitting_a_large_input_again_does_not_wait_for_it_to_be_read() {
    let grid = Grid::start("[unsigned]\noutput = \"16MiB\"").await;
    let client = grid.client(1).await;
    let input = vec![3; 5_000_000];
    let submit = with_input(job("j", "echo"), &input);
    client.run(&submit, &input).await;
    let (new, receive) = tokio::time::timeout(SOON, client.submit(&submit, &input)).await.unwrap().unwrap();
    assert!(!new);
    assert_eq!(events(receive).await[&0].output[&Channel::Output], input);
}

#[tokio::test]
async fn a_refused_client_does_not_wait_for_its_input_to_be_read() {
    let grid = Grid::start("[node]\nstore = \"100KB\"").await;
    let client = grid.client(1).await;
    let input = vec![3; 5_000_000];
    let submit = with_input(job("j", "echo"), &input);
    let refused = client.submit(&submit, &input);
    assert_eq!(tokio::time::timeout(SOON, refused).await.unwrap().unwrap_err().kind, RefusalKind::Busy);
}

#[tokio::test]
async fn echoes_are_small_and_one_connection_has_few_requests_open() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    assert_eq!(client.answer(&Request::Echo(vec![1; 4096])).await, Response::Echo(vec![1; 4096]));
    assert!(matches!(client.answer(&Request::Echo(vec![1; 4097])).await, Response::Refused(_)));
    client.submit(&Submit { attach: false, ..job("j", "hang") }, b"").await.unwrap();
    let mut open = Vec::new();
    let full = async {
        for _ in 0..1000 {
            open.push(client.ask(&Request::Follow("j".parse().unwrap())).await);
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), full).await.is_err());
    assert!((64..=80).contains(&open.len()), "{}", open.len());
}

/// What the node does, as far as this client may know.
async fn top(client: &Peer) -> Box<Top> {
    match client.answer(&Request::Top).await {
        Response::Top(top) => top,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_does_is_told_as_far_as_it_concerns_who_asks() {
    let key = |seed| KeyPair::from_seed(&[seed; 32]).public();
    let operators = format!("[clients]\nallow = [\"{}\", \"{}\"]\noperators = [\"{}\"]", key(1), key(2), key(9));
    let grid = Grid::start(&format!("[node]\nslots = 3\nworker_vms = 1\n[unsigned]\nvms = 2\n{operators}")).await;
    let (one, two, operator) = (grid.client(1).await, grid.client(2).await, grid.client(9).await);
    let quietly = |submit| Submit { attach: false, ..submit };
    two.run(&job("done", "exit 0"), b"").await;
    one.submit(&quietly(array("rests", "rest", 2)), b"").await.unwrap();
    two.submit(&quietly(job("boasts", "boast")), b"").await.unwrap();
    let all = tokio::time::timeout(SOON, async {
        loop {
            let all = top(&operator).await;
            if all.all.idle == 3 && all.all.jobs_ended == 1 {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let all = all.await.unwrap();
    let by_client: BTreeMap<_, _> = all.by_client.clone().unwrap().into_iter().collect();
    // Two VMs on two workers, and another that waits. Whoever boasts is believed what a worker can have.
    let own = by_client[&key(1)];
    assert_eq!((own.idle, own.running, own.workers, own.jobs_running, own.jobs_queued), (2, 0, 2, 2, 1));
    let boaster = by_client[&key(2)];
    assert_eq!((boaster.idle, boaster.running, boaster.workers, boaster.jobs_ended), (1, 1, 1, 1));
    assert!(all.starts.new < 1 << 40 && all.all.memory_bytes <= policy::host_memory());
    assert_eq!((all.clients, all.own), (2, Default::default()));
    // The others see what is theirs.
    let seen = top(&one).await;
    assert_eq!((seen.own, seen.by_client, seen.all.jobs_running), (own, None, 3));
    // An operator need not be one who may submit jobs, and a stranger is told nothing.
    assert_eq!(operator.submit(&job("j", "exit 0"), b"").await.unwrap_err().kind, RefusalKind::Denied);
    assert!(matches!(grid.client(3).await.answer(&Request::Top).await, Response::Refused(_)));
}
