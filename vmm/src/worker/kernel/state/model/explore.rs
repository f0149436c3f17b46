//! Goes through the orders of steps. A world can't be copied, so where another order begins it is made anew and led there.

use super::{Scene, Step, World};
use std::{collections::HashMap, thread};

/// The steps taken so far. They are told when something is wrong.
struct Path(Vec<Level>);

/// What can be done at one point, and how much of it was.
struct Level {
    print: u64,
    steps: Vec<Step>,
    taken: usize,
}

impl Path {
    fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().filter_map(|level| level.steps.get(level.taken.checked_sub(1)?).copied())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        if thread::panicking() {
            self.steps().for_each(|step| eprintln!("{step:?}"));
        }
    }
}

/// Goes through all that can come of a scene, and says how many different states there are.
pub(super) fn all_orders(scene: Scene) -> usize {
    // By their prints: whether they are on the path that is taken.
    let mut seen = HashMap::new();
    let (mut world, mut path, mut deepest) = (World::new(scene), Path(Vec::new()), 0);
    loop {
        let print = world.print();
        let mut rests = false;
        match seen.insert(print, true) {
            Some(true) => panic!("it goes round in circles"),
            Some(false) => {
                seen.insert(print, false);
            }
            None => {
                world.check();
                let (mut steps, may) = world.steps();
                rests = steps.is_empty();
                if rests {
                    // It is spent after that.
                    world.check_rest();
                }
                steps.extend(may);
                path.0.push(Level { print, steps, taken: 0 });
                deepest = deepest.max(path.0.len());
            }
        }
        while let Some(level) = path.0.pop_if(|level| level.taken == level.steps.len()) {
            seen.insert(level.print, false);
        }
        let Some(level) = path.0.last_mut() else {
            println!("{} states, at most {deepest} steps", seen.len());
            return seen.len();
        };
        level.taken += 1;
        let step = level.steps[level.taken - 1];
        if level.taken > 1 || level.print != print || rests {
            world = World::new(scene);
            path.steps().take(path.0.len() - 1).for_each(|step| world.take(step));
        }
        world.try_out(step);
    }
}

/// Goes one way: by these choices, of those that there are at each point, and then by what threads do until none can go on.
pub(super) fn one_order(scene: Scene, choices: &[u8]) {
    let (mut world, mut path) = (World::new(scene), Path(Vec::new()));
    let mut choices = choices.iter();
    for turn in 0.. {
        let (will, may) = world.steps();
        world.check();
        let step = match choices.next() {
            Some(choice) if !will.is_empty() || !may.is_empty() => {
                let all = [will, may].concat();
                all[usize::from(*choice) % all.len()]
            }
            _ if will.is_empty() => return world.check_rest(),
            _ => will[turn % will.len()],
        };
        assert!(turn < 10_000, "it never rests");
        path.0.push(Level { print: 0, steps: vec![step], taken: 1 });
        world.try_out(step);
    }
}
