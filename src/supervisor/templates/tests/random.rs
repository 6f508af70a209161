//! Random lives: whatever happens in whatever order, every process that was wanted gets one answer, there is never a
//! second template of a generation, and a stop leaves nothing.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct World {
    random: Random,
    scene: Scene,
    /// Wanted and not answered; whether a template was asked.
    open: BTreeMap<u64, bool>,
    next: u64,
    generation: u32,
}

impl World {
    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let answered = match output {
                Output::Plain { child } | Output::Refuse { child, .. } => Some(child),
                Output::Fork { child, .. } => {
                    let asked = self.open.get_mut(&child.0).expect("somebody wants it");
                    assert!(!std::mem::replace(asked, true), "asked for twice");
                    None
                }
                Output::Kill { key, .. } | Output::Leave { key } => {
                    // It may have been given up since.
                    let known = self.scene.living.contains_key(&key) || !self.scene.undead.is_empty();
                    assert!(known, "{key:?} is dead");
                    None
                }
                Output::Boot { .. } | Output::Abandon { .. } | Output::Note { .. } => None,
            };
            if let Some(child) = answered {
                assert!(self.open.remove(&child.0).is_some(), "{child:?} was answered already");
            }
        }
    }

    fn on(&mut self, input: Input) {
        let outputs = self.scene.on(input);
        self.take(outputs);
    }

    fn step(&mut self) {
        let keys: Vec<Key> = self.scene.living.keys().copied().collect();
        let key = keys.get(self.random.below(keys.len().max(1) as u64) as usize).copied();
        let child = self.open.keys().nth(self.random.below(4) as usize).copied();
        let pool = 1 + self.random.below(2) as PoolIndex;
        match (self.random.below(16), key, child) {
            (0..4, _, _) => {
                self.next += 1;
                self.open.insert(self.next, false);
                let generation = self.generation + self.random.below(2) as u32;
                let child = ChildId(self.next);
                self.on(Input::Want { child, generation, plan: plan(pool, false) });
            }
            (4, _, Some(child)) => {
                self.open.remove(&child);
                self.on(Input::Cancel { child: ChildId(child) });
            }
            (5, _, _) => self.on(Input::State { pool, state: PoolState::Asleep }),
            (6, _, _) => self.on(Input::State { pool, state: PoolState::Serving }),
            (7, _, _) => self.on(Input::Renew { pool }),
            (8, Some(key), _) => {
                let threads = 1 + u32::from(self.random.below(8) == 0);
                self.on(Input::Ready { key, threads });
            }
            (9, Some(key), _) => self.on(Input::Failed { key, reason: "no".to_owned() }),
            (10, Some(key), _) => {
                let outputs = self.scene.exit(key, Exit::Code(1));
                self.take(outputs);
            }
            (11 | 12, Some(_), Some(child)) if self.open.get(&child) == Some(&true) => self.answer(child),
            (13, _, _) => {
                let time = Duration::from_millis(self.random.below(20_000));
                let outputs = self.scene.pass(time);
                self.take(outputs);
            }
            (14, _, _) if self.random.below(4) == 0 => {
                self.generation += 1;
                let keep = self.random.below(2) == 0;
                let plans = vec![plan(1, keep), plan(2, false)];
                self.on(Input::Switch { generation: self.generation, plans });
            }
            (15, _, _) if self.random.below(4) == 0 => self.on(Input::Discard),
            (15, _, _) => {
                if let Some(pid) = self.scene.undead.pop() {
                    self.on(Input::Buried { pid });
                }
            }
            _ => {}
        }
        if self.random.below(16) == 0 {
            let text = serde_json::to_string(&self.scene.core).expect("serialises");
            assert_eq!(serde_json::from_str::<Templates>(&text).expect("deserialises"), self.scene.core);
        }
    }

    /// The template that was asked for this process answers.
    fn answer(&mut self, child: u64) {
        let child = ChildId(child);
        let asked = |template: &&Template| template.asked.iter().any(|asked| asked.child == child);
        let key = self.scene.core.templates.iter().find(asked).expect("some template was asked").key;
        if self.random.below(4) == 0 {
            self.on(Input::Unborn { key, child, reason: "EAGAIN".to_owned() });
        } else {
            self.on(Input::Born { key, child });
            self.open.remove(&child.0);
        }
    }

    /// Everything ends: nobody is left waiting, and nothing lives.
    fn stop(&mut self) {
        self.on(Input::Stop);
        for _ in 0..100 {
            let outputs = self.scene.pass(Duration::from_secs(100));
            self.take(outputs);
            for key in self.scene.living.keys().copied().collect::<Vec<_>>() {
                let outputs = self.scene.exit(key, Exit::Signal(9));
                self.take(outputs);
            }
            if self.scene.is_idle() {
                break;
            }
        }
        assert!(self.scene.is_idle(), "{:?}", self.scene.core);
        assert_eq!(self.open.len(), 0, "nobody answered {:?}", self.open);
        assert_eq!(self.scene.core.deadline(), None);
    }
}

#[test]
fn whatever_happens_everybody_is_answered_and_nothing_is_left() {
    for seed in 1..500_u64 {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scene = Scene::new(vec![plan(1, seed % 2 == 0), plan(2, false)]);
        let mut world = World { random, scene, open: BTreeMap::new(), next: 0, generation: 1 };
        for _ in 0..world.random.below(300) {
            world.step();
        }
        world.stop();
    }
}
