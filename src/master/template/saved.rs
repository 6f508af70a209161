//! Templates over an upgrade: they stay, with what was asked of them.

use super::super::apps::{SavedApp, Start};
use super::super::kept::{Keeping, Kept, SavedProcess, Taking};
use super::super::output::SavedOutput;
use super::super::voice::SavedVoice;
use super::{Nursery, Template, Unborn};
use crate::supervisor::ChildId;
use crate::supervisor::templates::{Key, Templates};
use crate::sys::process::Launch;
use serde::{Deserialize, Serialize};

/// What an upgrade keeps of a [`Nursery`].
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct SavedNursery {
    core: Templates,
    living: Vec<(Key, SavedTemplate)>,
    unborn: Vec<(ChildId, SavedUnborn)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedTemplate {
    process: SavedProcess,
    name: String,
    user: u32,
    ear: Kept,
    voice: SavedVoice,
    launch: Option<Kept>,
    start: Start,
    output: SavedOutput,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedUnborn {
    pool: u16,
    slot: u16,
    generation: u32,
    app: Option<SavedApp>,
    #[serde(default)]
    pid: Option<u32>,
}

impl SavedNursery {
    /// The templates again.
    pub(in crate::master) fn restore(self, descriptors: &mut Taking) -> Result<Nursery, String> {
        let mut nursery = Nursery { core: self.core, living: Default::default(), unborn: Default::default() };
        for (key, saved) in self.living {
            nursery.living.insert(key, saved.restore(descriptors)?);
        }
        for (child, saved) in self.unborn {
            let SavedUnborn { pool, slot, generation, app, pid } = saved;
            let app = app.map(|app| app.restore(descriptors)).transpose()?;
            nursery.unborn.insert(child, Unborn { pool, slot, generation, app, pid });
        }
        Ok(nursery)
    }
}

impl SavedTemplate {
    fn restore(self, descriptors: &mut Taking) -> Result<Template, String> {
        let launch = self.launch.map(|kept| descriptors.take(kept)).transpose()?;
        Ok(Template {
            process: self.process.restore(descriptors)?,
            name: self.name,
            user: self.user,
            ear: descriptors.take(self.ear)?,
            voice: self.voice.restore(descriptors)?,
            launch: launch.map(Launch::resume),
            start: self.start,
            output: self.output.restore(descriptors)?,
        })
    }
}

impl Nursery {
    /// For an upgrade.
    pub(in crate::master) fn save(&self, descriptors: &mut Keeping) -> SavedNursery {
        let living = self.living.iter().map(|(key, template)| {
            let saved = SavedTemplate {
                process: SavedProcess::of(&template.process, descriptors),
                name: template.name.clone(),
                user: template.user,
                ear: descriptors.keep(&template.ear),
                voice: template.voice.save(descriptors),
                launch: template.launch.as_ref().map(|launch| descriptors.keep(launch.descriptor())),
                start: template.start.clone(),
                output: template.output.save(descriptors),
            };
            (*key, saved)
        });
        let living = living.collect();
        let unborn = self.unborn.iter().map(|(child, unborn)| {
            let Unborn { pool, slot, generation, app, pid } = unborn;
            let app = app.as_ref().map(|app| app.save(descriptors));
            (*child, SavedUnborn { pool: *pool, slot: *slot, generation: *generation, app, pid: *pid })
        });
        SavedNursery { core: self.core.clone(), living, unborn: unborn.collect() }
    }

    /// After an upgrade the current generation has another number; its templates stay.
    pub(in crate::master) fn renumber(&mut self, generation: u32) {
        let from = self.core.renumber(generation);
        let living = std::mem::take(&mut self.living);
        self.living.extend(living.into_iter().map(|(key, template)| {
            let number = if key.generation == from { generation } else { key.generation };
            (Key { generation: number, ..key }, template)
        }));
    }
}
