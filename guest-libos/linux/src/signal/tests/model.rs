//! Masks and pending signals against a naive model: lists of what was sent, in order.
use super::*;
use proptest::prelude::*;

const NUMBERS: [i32; 7] = [1, 10, 11, 17, 32, 40, 64];

#[derive(Clone, Debug)]
enum Event {
    Process(i32),
    Thread(bool, i32),
    Mask(bool, u32, Vec<i32>),
    Action(i32, bool),
    Deliver(bool),
    Return(bool),
    Pending(bool),
    Suspend(bool, Vec<i32>),
}

fn event() -> impl Strategy<Value = Event> {
    let number = || prop::sample::select(&NUMBERS[..]);
    let numbers = || prop::collection::vec(number(), 0..5);
    let who = any::<bool>;
    prop_oneof![
        number().prop_map(Event::Process),
        (who(), number()).prop_map(|(w, n)| Event::Thread(w, n)),
        (who(), 0u32..3, numbers()).prop_map(|(w, how, n)| Event::Mask(w, how, n)),
        (number(), any::<bool>()).prop_map(|(n, ignore)| Event::Action(n, ignore)),
        who().prop_map(Event::Deliver),
        who().prop_map(Event::Deliver),
        who().prop_map(Event::Return),
        who().prop_map(Event::Pending),
        (who(), numbers()).prop_map(|(w, n)| Event::Suspend(w, n)),
    ]
}

/// Threads are 0 and 1; list 2 is the process's.
#[derive(Default)]
struct Model {
    lists: [Vec<i32>; 3],
    masks: [Vec<i32>; 2],
    saved: [Option<Vec<i32>>; 2],
    /// Who was chosen for the process's signals, or may look at them.
    called: [bool; 2],
    /// Masks that handlers return to.
    frames: [Vec<Vec<i32>>; 2],
    ignored: Vec<i32>,
}

impl Model {
    fn send(&mut self, list: usize, number: i32) {
        let blocked = match list {
            2 => self.masks.iter().all(|mask| mask.contains(&number)),
            thread => self.masks[thread].contains(&number),
        };
        let ignored = self.ignored.contains(&number) && !blocked;
        let merged = number < 32 && self.lists[list].contains(&number);
        if !ignored && !merged {
            self.lists[list].push(number);
            self.retarget();
            if list < 2 && !blocked {
                self.called[list] = true;
            }
        }
    }

    fn retarget(&mut self) {
        for number in &self.lists[2] {
            if let Some(thread) = self.masks.iter().position(|mask| !mask.contains(number)) {
                self.called[thread] = true;
            }
        }
    }

    fn mask(&mut self, thread: usize, how: u32, numbers: &[i32]) {
        self.called[thread] = true;
        let mask = &mut self.masks[thread];
        match how {
            0 => mask.extend(numbers),
            1 => mask.retain(|number| !numbers.contains(number)),
            _ => *mask = numbers.to_vec(),
        }
    }

    fn action(&mut self, number: i32, ignore: bool) {
        self.ignored.retain(|&other| other != number);
        if ignore {
            self.ignored.push(number);
            self.lists.iter_mut().for_each(|list| list.retain(|&other| other != number));
        }
    }

    /// The lowest that is not blocked, of the thread before the process, SIGSEGV before all of its list.
    fn deliver(&mut self, thread: usize) -> Option<i32> {
        loop {
            let mask = self.masks[thread].clone();
            let lists = if self.called[thread] { vec![thread, 2] } else { vec![thread] };
            let place = lists.into_iter().find_map(|list| {
                let open = self.lists[list].iter().copied().filter(|number| !mask.contains(number));
                open.min_by_key(|&number| (number != 11, number)).map(|number| (list, number))
            });
            let Some((list, number)) = place else {
                let saved = self.saved[thread].take();
                self.called[thread] = saved.is_some();
                self.masks[thread] = saved?;
                continue;
            };
            let at = self.lists[list].iter().position(|&other| other == number).unwrap();
            self.lists[list].remove(at);
            if !self.ignored.contains(&number) {
                self.frames[thread].push(self.saved[thread].take().unwrap_or(mask));
                self.masks[thread].push(number);
                return Some(number);
            }
        }
    }
}

fn check(signals: &Signals, model: &Model) -> Result<(), TestCaseError> {
    for (thread, tid) in [MAIN, OTHER].into_iter().enumerate() {
        prop_assert_eq!(signals.mask(tid).unwrap(), set(&model.masks[thread]));
        let open = |list: usize| {
            model.lists[list].iter().any(|n| !model.masks[thread].contains(n) && !model.ignored.contains(n))
        };
        prop_assert_eq!(signals.interrupts(tid), open(thread) || model.called[thread] && open(2));
    }
    // Nothing is lost: what somebody would take calls somebody.
    let taken =
        |number: &&i32| !model.ignored.contains(number) && model.masks.iter().any(|mask| !mask.contains(number));
    if model.lists[2].iter().any(|number| taken(&number)) {
        prop_assert!(signals.interrupts(MAIN) || signals.interrupts(OTHER));
    }
    prop_assert_eq!(signals.queued, model.lists.iter().map(Vec::len).sum::<usize>());
    Ok(())
}

fn step(signals: &mut Signals, model: &mut Model, event: &Event) -> Result<(), TestCaseError> {
    let tid = |which: bool| if which { OTHER } else { MAIN };
    match event.clone() {
        Event::Process(number) => {
            model.send(2, number);
            signals.kill(10, number).unwrap();
        }
        Event::Thread(who, number) => {
            model.send(usize::from(who), number);
            signals.tgkill(10, tid(who).0 as i32, number).unwrap();
        }
        Event::Mask(who, how, numbers) => {
            model.mask(usize::from(who), how, &numbers);
            signals.sigprocmask(tid(who), how, Some(set(&numbers)), 8).unwrap();
        }
        Event::Action(number, ignore) => {
            model.action(number, ignore);
            let handler = if ignore { 1 } else { 4096 };
            signals.sigaction(number, Some(Action { handler, ..Action::default() }), 8).unwrap();
        }
        Event::Deliver(who) => {
            let expected = model.deliver(usize::from(who));
            let got = handled(signals, tid(who)).map(|handler| i32::from(handler.info.signal().number()));
            prop_assert_eq!(got, expected);
        }
        Event::Return(who) => {
            if let Some(mask) = model.frames[usize::from(who)].pop() {
                signals.returned(tid(who), set(&mask), AltStack::default(), 0);
                model.masks[usize::from(who)] = mask;
                model.called[usize::from(who)] = true;
            }
        }
        Event::Pending(who) => {
            let thread = usize::from(who);
            let mut all: Vec<i32> = model.lists[thread].iter().chain(&model.lists[2]).copied().collect();
            all.retain(|number| model.masks[thread].contains(number));
            prop_assert_eq!(signals.sigpending(tid(who), 8).unwrap(), set(&all));
        }
        Event::Suspend(who, numbers) => {
            let thread = usize::from(who);
            let old = core::mem::replace(&mut model.masks[thread], numbers.clone());
            model.saved[thread].get_or_insert(old);
            model.called[thread] = true;
            signals.begin_mask(tid(who), set(&numbers), 8).unwrap();
        }
    }
    model.retarget();
    signals.retarget();
    check(signals, model)
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(events in prop::collection::vec(event(), 1..100)) {
        let (mut signals, mut model) = (two(), Model::default());
        for number in NUMBERS {
            handle(&mut signals, number, 0);
        }
        for event in &events {
            step(&mut signals, &mut model, event)?;
        }
    }
}
