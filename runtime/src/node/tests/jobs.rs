//! What a client gets for a job.

use super::*;

#[tokio::test]
async fn a_job_runs_and_its_receipt_holds() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let seen = client.run(&with_input(job("j", "echo a-{index}"), b"hello"), b"hello").await;
    assert_eq!(seen.output[&Channel::Output], b"hello");
    assert_eq!(seen.output[&Channel::Error], b"echo a-0");
    let result = seen.result.unwrap();
    let statement = result.receipt.verify().unwrap();
    assert_eq!((statement.node, statement.outcome), (grid.node.key(), Outcome::Exited(0)));
    assert_eq!((statement.bundle, statement.input), (Digest::of(&content()), Digest::of(b"hello")));
    assert_eq!(statement.output, result.outputs.digest());
    assert_eq!(client.status("j").await.succeeded, 1);
    grid.node.stop().await;
}

#[tokio::test]
async fn submitting_twice_runs_once_and_another_job_of_the_name_conflicts() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let submit = job("j", "exit 3");
    assert!(client.submit(&submit, b"").await.unwrap().0);
    let (new, receive) = client.submit(&submit, b"").await.unwrap();
    assert!(!new);
    let seen = events(receive).await;
    assert_eq!(seen[&0].result.as_ref().unwrap().outcome, Outcome::Exited(3));
    assert!(!client.submit(&submit, b"").await.unwrap().0);
    let refusal = client.submit(&job("j", "exit 4"), b"").await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    // Another client's names are its own.
    assert!(grid.client(2).await.submit(&submit, b"").await.unwrap().0);
}

#[tokio::test]
async fn many_submissions_of_one_name_at_once_are_one_job() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let submit = job("j", "echo x");
    let mut all = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (client, submit) = (Peer(client.0.clone()), if n % 3 == 0 { job("j", "exit 1") } else { submit.clone() });
        all.spawn(async move { client.submit(&submit, b"").await.map(|(new, _)| (n % 3 == 0, new)) });
    }
    let all = all.join_all().await;
    let new: Vec<_> = all.iter().flatten().filter(|(_, new)| *new).collect();
    assert_eq!(new.len(), 1);
    // Those that asked for the other job were told.
    assert!(all.iter().flatten().all(|(other, _)| *other == new[0].0));
    assert!(all.iter().filter_map(|one| one.as_ref().err()).all(|refusal| refusal.kind == RefusalKind::Conflict));
    assert_eq!(client.follow("j").await.len(), 1);
}

#[tokio::test]
async fn an_array_gives_a_result_for_each_index() {
    let grid = Grid::start("[node]\nslots = 4").await;
    let client = grid.client(1).await;
    let (_, receive) = client.submit(&array("a", "echo {index}", 299), b"").await.unwrap();
    let seen = events(receive).await;
    assert_eq!(seen.len(), 300);
    for (index, seen) in &seen {
        assert_eq!(seen.output[&Channel::Error], format!("echo {index}").as_bytes());
    }
    assert_eq!(client.follow("a").await.len(), 300);
    let status = client.status("a").await;
    assert_eq!((status.queued, status.running, status.succeeded, status.failed), (0, 0, 300, 0));
}

#[tokio::test]
async fn large_output_arrives_whole_live_and_later() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let seen = client.run(&job("j", "print 3000000"), b"").await;
    assert_eq!(seen.output[&Channel::Output].len(), 3_000_000);
    assert_eq!(client.follow("j").await[&0].output[&Channel::Output].len(), 3_000_000);
    let (_, mut receive) = client.ask(&Request::Result { job: "j".parse().unwrap(), index: 0 }).await;
    assert!(matches!(read_frame(&mut receive).await.unwrap(), Response::Result(_)));
    assert_eq!(receive.read_to_end(4_000_000).await.unwrap().len(), 3_000_000);
}

#[tokio::test]
async fn output_files_come_sorted_and_empty_ones_too() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let result = client.run(&job("j", "files"), b"").await.result.unwrap();
    let names: Vec<_> = result.outputs.0.iter().map(|row| row.channel.clone()).collect();
    let file = |name: &str| Channel::File(name.to_owned());
    assert_eq!(names, [Channel::Output, Channel::Error, file("a"), file("b/c"), file("empty")]);
    let (_, mut receive) = client.ask(&Request::Result { job: "j".parse().unwrap(), index: 0 }).await;
    assert!(matches!(read_frame(&mut receive).await.unwrap(), Response::Result(_)));
    assert_eq!(receive.read_to_end(100).await.unwrap(), b"outonetwo");
}

#[tokio::test]
async fn a_large_input_is_checked_kept_and_given() {
    let grid = Grid::start("[unsigned]\noutput = \"16MiB\"").await;
    let client = grid.client(1).await;
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let seen = client.run(&with_input(job("j", "echo"), &input), &input).await;
    assert_eq!(seen.output[&Channel::Output], input);
    let lie = Submit { input: Digest::of(b"other"), ..with_input(job("k", "echo"), &input) };
    assert_eq!(client.submit(&lie, &input).await.unwrap_err().kind, RefusalKind::Invalid);
}

#[tokio::test]
async fn cancelling_ends_what_runs_and_what_waits() {
    let grid = Grid::start("[node]\nslots = 2\n[unsigned]\nvms = 2").await;
    let client = grid.client(1).await;
    let (_, receive) = client.submit(&array("a", "hang", 9), b"").await.unwrap();
    while client.status("a").await.running < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let Response::Status(status) = client.answer(&Request::Cancel("a".parse().unwrap())).await else { panic!() };
    assert_eq!(status.queued, 0);
    let seen = events(receive).await;
    assert_eq!(seen.len(), 10);
    assert!(seen.values().all(|seen| seen.result.as_ref().unwrap().outcome == Outcome::Cancelled));
    assert_eq!(seen.values().filter(|seen| seen.started == 1).count(), 2);
    assert!(seen.values().all(|seen| seen.result.as_ref().unwrap().receipt.verify().is_ok()));
}

#[tokio::test]
async fn a_lost_worker_costs_tries_and_nothing_else() {
    let grid = Grid::start("[node]\nslots = 2").await;
    let (client, other) = (grid.client(1).await, grid.client(2).await);
    let seen = client.run(&job("once", "die-once"), b"").await;
    assert_eq!(seen.output[&Channel::Output], b"first try");
    // The submission is answered when it is durable, and the first try may have started and ended by then.
    assert!((1..=2).contains(&seen.started), "{}", seen.started);
    for word in ["die", "garbage", "start-twice"] {
        let seen = client.run(&job(word, word), b"").await;
        assert!(matches!(seen.result.unwrap().outcome, Outcome::Lost(_)));
        assert_eq!(other.run(&job(word, "exit 0"), b"").await.result.unwrap().outcome, Outcome::Exited(0));
    }
}

#[tokio::test]
async fn a_run_that_the_host_failed_is_tried_again_and_not_for_ever() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let outcome =
        async |words: &str| client.run(&job(&words.replace(' ', "-"), words), b"").await.result.unwrap().outcome;
    assert_eq!(outcome("lose 2").await, Outcome::Exited(0));
    assert!(matches!(outcome("lose 3").await, Outcome::Lost(why) if why == "of no fault of its own"));
}

#[tokio::test]
async fn policy_decides_by_signer_with_numbers() {
    let signer = KeyPair::from_seed(&[7; 32]);
    let grid = Grid::start(&format!("[unsigned]\nmemory = \"8MiB\"\n[[signer]]\nkey = \"{}\"", signer.public())).await;
    let client = grid.client(1).await;
    let refusal = client.submit(&job("j", "exit 0"), b"").await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Denied);
    assert!(refusal.message.contains("16777216") && refusal.message.contains("8388608"), "{}", refusal.message);
    let sign = |key: &KeyPair| vec![BundleSignature::sign(&Digest::of(&content()), key, u64::MAX)];
    let signed = Submit { signatures: sign(&signer), ..job("j", "exit 0") };
    assert!(client.submit(&signed, b"").await.unwrap().0);
    let stranger = KeyPair::from_seed(&[8; 32]);
    let refusal = client.submit(&Submit { signatures: sign(&stranger), ..job("k", "exit 0") }, b"").await.unwrap_err();
    assert!(refusal.message.contains(&stranger.public().to_string()));
}

#[tokio::test]
async fn the_queue_and_the_store_have_bounds() {
    let grid = Grid::start("[node]\nslots = 1\nqueue_jobs = 5\n[clients]\nqueue_jobs = 3").await;
    let (one, two) = (grid.client(1).await, grid.client(2).await);
    one.submit(&array("a", "hang", 1), b"").await.unwrap();
    assert_eq!(one.submit(&array("b", "hang", 1), b"").await.unwrap_err().kind, RefusalKind::Busy);
    two.submit(&array("a", "hang", 2), b"").await.unwrap();
    assert_eq!(two.submit(&job("b", "hang"), b"").await.unwrap_err().kind, RefusalKind::Busy);
    let grid = Grid::start("[node]\nstore = \"100KB\"").await;
    let refusal = grid.client(1).await.submit(&with_input(job("j", "echo"), &[0; 200_000]), &[0; 200_000]).await;
    assert_eq!(refusal.unwrap_err().kind, RefusalKind::Busy);
}

#[tokio::test]
async fn lists_come_in_pages_by_name() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    for name in ["b", "a", "c"] {
        client.run(&job(name, "exit 0"), b"").await;
    }
    grid.client(2).await.run(&job("z", "exit 0"), b"").await;
    let names = |response| match response {
        Response::List { jobs, more: false } => jobs.into_iter().map(|job| job.job.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(names(client.answer(&Request::List { after: None }).await), ["a", "b", "c"]);
    let after: JobId = "a".parse().unwrap();
    assert_eq!(names(client.answer(&Request::List { after: Some(after) }).await), ["b", "c"]);
}
