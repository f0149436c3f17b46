//! Sequences of `futex` calls against a naive model: one list of waiters in the order in which they came.
use super::*;
use linux_raw_sys::general as raw;
use proptest::prelude::*;

const ADDRESSES: u64 = 3;

#[derive(Clone, Debug)]
struct Step {
    operation: u32,
    from: u64,
    to: u64,
    value: u32,
    value2: u32,
    value3: u32,
    timeout: Option<i64>,
    passes: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let operations = prop::sample::select(vec![
        raw::FUTEX_WAIT,
        raw::FUTEX_WAIT,
        raw::FUTEX_WAIT_BITSET,
        raw::FUTEX_WAIT_BITSET,
        raw::FUTEX_WAKE,
        raw::FUTEX_WAKE_BITSET,
        raw::FUTEX_REQUEUE,
        raw::FUTEX_CMP_REQUEUE,
    ]);
    let timeout = prop::option::of(0i64..40);
    (operations, 0..ADDRESSES, 0..ADDRESSES, 0u32..3, 0u32..4, 0u32..4, timeout, 0u64..6).prop_map(
        |(operation, from, to, value, value2, value3, timeout, passes)| Step {
            operation,
            from: from * 4,
            to: to * 4,
            value,
            value2,
            value3,
            timeout,
            passes,
        },
    )
}

#[derive(Clone, Debug)]
struct Sleeper {
    tid: Tid,
    address: u64,
    bits: u32,
    until: Option<u64>,
}

/// The model: who waits, and who was woken.
#[derive(Default)]
struct Model {
    sleepers: Vec<Sleeper>,
    woken: Vec<Tid>,
}

impl Model {
    fn wake(&mut self, address: u64, count: u32, bits: u32) -> u32 {
        let mut number = 0;
        while number < count.max(1) {
            let Some(place) = self.sleepers.iter().position(|s| s.address == address && s.bits & bits != 0) else {
                break;
            };
            self.woken.push(self.sleepers.remove(place).tid);
            number += 1;
        }
        number
    }

    fn requeue(&mut self, step: &Step) -> u32 {
        let all: Vec<Tid> = self.sleepers.iter().filter(|s| s.address == step.from).map(|s| s.tid).collect();
        let mut number = 0;
        for tid in all.into_iter().take((step.value + step.value2) as usize) {
            number += 1;
            let place = self.sleepers.iter().position(|s| s.tid == tid).unwrap();
            if number <= step.value {
                self.woken.push(self.sleepers.remove(place).tid);
            } else if step.from != step.to {
                let sleeper = self.sleepers.remove(place);
                self.sleepers.push(Sleeper { address: step.to, ..sleeper });
            }
        }
        number
    }

    /// All words are 1 here.
    fn step(&mut self, tid: Tid, step: &Step, now: u64) -> Result<Outcome, Errno> {
        let any = u32::MAX;
        match step.operation {
            raw::FUTEX_WAIT | raw::FUTEX_WAIT_BITSET => {
                let relative = step.operation == raw::FUTEX_WAIT;
                let bits = if relative { any } else { step.value3 };
                if bits == 0 {
                    return Err(Errno::EINVAL);
                }
                if step.value != 1 {
                    return Err(Errno::EAGAIN);
                }
                let until = step.timeout.map(|ns| ns as u64 + if relative { now } else { 0 });
                self.sleepers.push(Sleeper { tid, address: step.from, bits, until });
                Ok(Outcome::Blocked)
            }
            raw::FUTEX_WAKE => Ok(Outcome::Done(self.wake(step.from, step.value, any))),
            raw::FUTEX_WAKE_BITSET if step.value3 == 0 => Err(Errno::EINVAL),
            raw::FUTEX_WAKE_BITSET => Ok(Outcome::Done(self.wake(step.from, step.value, step.value3))),
            raw::FUTEX_CMP_REQUEUE if step.value3 != 1 => Err(Errno::EAGAIN),
            _ => Ok(Outcome::Done(self.requeue(step))),
        }
    }

    fn expire(&mut self, now: u64) {
        let mut over: Vec<Sleeper> =
            self.sleepers.iter().filter(|s| s.until.is_some_and(|u| u <= now)).cloned().collect();
        over.sort_by_key(|s| (s.until, s.tid));
        self.sleepers.retain(|s| s.until.is_none_or(|u| u > now));
        self.woken.extend(over.into_iter().map(|s| s.tid));
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let mut memory = Memory((0..ADDRESSES).map(|index| (index * 4, 1)).collect());
        let mut threads = threads(6);
        let mut ready: Vec<Tid> = (2..=6).map(Tid).collect();
        let (mut model, mut now) = (Model::default(), 0);
        for step in &steps {
            let Next::Run(tid) = threads.next(now) else {
                now += 100;
                model.expire(now);
                ready.append(&mut model.woken);
                threads.expire(now);
                let run = threads.next(now);
                prop_assert_eq!(run, ready.first().map_or(Next::Idle(None), |&tid| Next::Run(tid)));
                if !ready.is_empty() {
                    ready.remove(0);
                }
                continue;
            };
            let timeout = step.timeout.map(|nanoseconds| Timespec { seconds: 0, nanoseconds });
            let call = Futex {
                address: step.from, operation: step.operation | raw::FUTEX_PRIVATE_FLAG, value: step.value, timeout,
                value2: step.value2, address2: step.to, value3: step.value3,
            };
            let result = threads.futex(&call, &mut memory, at(now));
            prop_assert_eq!(result, model.step(tid, step, now));
            if result != Ok(Outcome::Blocked) && step.passes == 0 {
                ready.append(&mut model.woken);
                threads.put_back();
                ready.push(tid);
            }
            now += step.passes;
            threads.expire(now);
            model.expire(now);
            ready.append(&mut model.woken);
            prop_assert_eq!(threads.ready.iter().copied().collect::<Vec<_>>(), ready.clone());
            if threads.current().is_none() && !ready.is_empty() {
                prop_assert_eq!(threads.next(now), Next::Run(ready.remove(0)));
            }
            prop_assert_eq!(threads.waits.futexes.len(), model.sleepers.len());
        }
    }
}
