//! Clients that break the rules.

use super::*;

#[tokio::test]
async fn broken_frames_are_refused_and_the_node_goes_on() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let mut length = 300_000_u32.to_le_bytes().to_vec();
    length.extend([0; 100]);
    for bytes in [&length[..], &[3, 0, 0, 0, 255, 255, 255], &[1, 0], &[5, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let (mut send, mut receive) = client.0.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        let _ = send.finish();
        let response: Response = read_frame(&mut receive).await.unwrap();
        let Response::Refused(refusal) = response else { panic!("{response:?}") };
        assert_eq!(refusal.kind, RefusalKind::Invalid, "{}", refusal.message);
    }
    assert_eq!(client.run(&job("j", "exit 0"), b"").await.result.unwrap().outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn a_bundle_that_is_not_what_was_announced_is_refused_and_not_kept() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let mut broken = content();
    broken[9] ^= 1;
    for (announced, sent) in [(Digest::of(&content()), broken.clone()), (Digest::of(&broken), broken)] {
        let submit = Submit { bundle: announced, bundle_bytes: sent.len() as u64, ..job("j", "exit 0") };
        let (mut send, mut receive) = client.ask(&Request::Submit(submit)).await;
        assert_eq!(read_frame::<Response>(&mut receive).await.unwrap(), Response::NeedBundle);
        send.write_all(&sent).await.unwrap();
        let response: Response = read_frame(&mut receive).await.unwrap();
        let Response::Refused(refusal) = response else { panic!("{response:?}") };
        assert_eq!(refusal.kind, RefusalKind::Invalid);
    }
    let kept = std::fs::read_dir(grid.data.path().join("data/bundles")).unwrap().count();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn limits_are_checked_before_bytes_are_taken() {
    let grid = Grid::start("").await;
    let client = grid.client(1).await;
    let base = job("j", "exit 0");
    for submit in [
        Submit { input_bytes: u64::MAX, ..base.clone() },
        Submit { bundle_bytes: u64::MAX, ..base.clone() },
        Submit { indices: Indices { first: 0, last: u32::MAX }, ..base.clone() },
        Submit { indices: Indices { first: 1, last: 0 }, ..base.clone() },
        Submit { arguments: vec!["x".repeat(100_000)], ..base.clone() },
        Submit { arguments: vec![String::new(); 1000], ..base.clone() },
    ] {
        assert_eq!(client.submit(&submit, b"").await.unwrap_err().kind, RefusalKind::Invalid);
    }
}

#[tokio::test]
async fn a_client_that_vanishes_or_does_not_read_harms_nothing() {
    let grid = Grid::start("[node]\nslots = 2").await;
    let idle = grid.client(1).await;
    // Never read: more output than all windows together.
    let (_, _unread) = idle.submit(&array("a", "print 3000000", 9), b"").await.unwrap();
    let gone = grid.client(2).await;
    let _ = gone.submit(&array("b", "echo {index}", 99), b"").await.unwrap();
    gone.0.close(0_u32.into(), b"");
    let client = grid.client(3).await;
    assert_eq!(client.run(&job("j", "exit 0"), b"").await.result.unwrap().outcome, Outcome::Exited(0));
    let reader = grid.client(1).await;
    let all = reader.follow("a").await;
    assert!(all.len() == 10 && all.values().all(|seen| seen.output[&Channel::Output].len() == 3_000_000));
    assert_eq!(grid.client(2).await.follow("b").await.len(), 100);
    // And the slow one still gets everything.
    assert_eq!(events(_unread).await.len(), 10);
}

#[tokio::test]
async fn a_client_that_is_not_on_the_list_is_told_so() {
    let grid = Grid::start("[clients]\nallow = []").await;
    let client = grid.client(1).await;
    let Response::Refused(refusal) = client.answer(&Request::Info).await else { panic!() };
    assert_eq!(refusal.kind, RefusalKind::Denied);
}
