//! The scheduler against a naive model: no wake-up is lost, none is invented, and the order is that of becoming ready.
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Spawn,
    Yield,
    Sleep(u64),
    Wait(Vec<u64>, Option<u64>),
    Token(u64),
    Interrupt(u32),
    Time(u64),
    Exit,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Spawn),
        Just(Event::Yield),
        (0u64..50).prop_map(Event::Sleep),
        (prop::collection::vec(0u64..4, 0..4), prop::option::of(0u64..50)).prop_map(|(t, u)| Event::Wait(t, u)),
        (0u64..4).prop_map(Event::Token),
        (1u32..12).prop_map(Event::Interrupt),
        (1u64..20).prop_map(Event::Time),
        Just(Event::Exit),
    ]
}

/// A thread that waits: for these, until then.
type Waiting = (u32, Vec<u64>, Option<u64>);

#[derive(Default)]
struct Model {
    now: u64,
    spawned: u32,
    running: Option<u32>,
    ready: Vec<u32>,
    waiting: Vec<Waiting>,
}

impl Model {
    fn wake(&mut self, which: impl Fn(&Waiting) -> bool) {
        let (woken, rest): (Vec<Waiting>, _) = self.waiting.drain(..).partition(which);
        self.waiting = rest;
        self.waiting.sort_by_key(|waiting| waiting.0);
        self.ready.extend(woken.into_iter().map(|waiting| waiting.0));
    }

    fn next(&mut self) {
        let now = self.now;
        self.waiting.sort_by_key(|waiting| (waiting.2, waiting.0));
        self.wake(|waiting| waiting.2.is_some_and(|until| until <= now));
        if self.running.is_none() && !self.ready.is_empty() {
            self.running = Some(self.ready.remove(0));
        }
    }

    fn wait(&mut self, tokens: Vec<u64>, until: Option<u64>) {
        if let Some(tid) = self.running.take() {
            self.waiting.push((tid, tokens, until));
            self.waiting.sort_by_key(|waiting| waiting.0);
        }
    }

    fn step(&mut self, event: &Event) {
        match event.clone() {
            Event::Spawn => {
                self.spawned += 1;
                self.ready.push(self.spawned);
            }
            Event::Yield => self.ready.extend(self.running.take()),
            Event::Sleep(ns) => self.wait(Vec::new(), Some(self.now + ns)),
            Event::Wait(tokens, ns) => self.wait(tokens, ns.map(|ns| self.now + ns)),
            Event::Token(token) => self.wake(|waiting| waiting.1.contains(&token)),
            Event::Interrupt(tid) => self.wake(|waiting| waiting.0 == tid),
            Event::Time(ns) => self.now += ns,
            Event::Exit => self.running = None,
        }
        self.next();
    }
}

fn step(threads: &mut Threads, event: &Event, now: u64) {
    let _ = match event.clone() {
        Event::Spawn => threads.spawn(&NewThread::default(), &mut Memory::default()).map(|_| ()),
        Event::Yield => {
            threads.put_back();
            Ok(())
        }
        Event::Sleep(ns) => threads.block(Wait::Time { until_ns: Some(now + ns) }),
        Event::Wait(tokens, ns) => threads.block(Wait::Tokens { tokens, until_ns: ns.map(|ns| now + ns) }),
        Event::Token(token) => {
            threads.token_ready(token);
            Ok(())
        }
        Event::Interrupt(tid) => {
            threads.interrupt(Tid(tid));
            Ok(())
        }
        Event::Time(_) => Ok(()),
        Event::Exit => {
            threads.exit(0, &mut Memory::default());
            Ok(())
        }
    };
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(events in prop::collection::vec(event(), 1..120)) {
        let mut threads = threads(1);
        let mut model = Model { spawned: 1, running: Some(1), ..Model::default() };
        for event in &events {
            step(&mut threads, event, model.now);
            model.step(event);
            let next = threads.next(model.now);
            let ready: Vec<u32> = threads.ready.iter().map(|tid| tid.0).collect();
            prop_assert_eq!(&ready, &model.ready);
            let idle = || Next::Idle(model.waiting.iter().filter_map(|waiting| waiting.2).min());
            let expected = match model.running {
                Some(tid) => Next::Run(Tid(tid)),
                None if model.waiting.is_empty() => Next::Ended,
                None => idle(),
            };
            prop_assert_eq!(next, expected);
            prop_assert_eq!(threads.count(), model.ready.len() + model.waiting.len() + usize::from(model.running.is_some()));
        }
    }
}
