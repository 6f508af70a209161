//! Whether pages for who writes the code may reach somebody else: behind a proxy everybody comes from its address.

use super::super::problem::{Complaint, Place};
use super::super::{Config, Handler, Problem};

/// Apps that are rolled by edits, in sites behind proxies that tell who the client is.
pub(super) fn behind_proxies(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let is_behind = |site: &super::Site| !site.trusted_proxies.is_empty();
    for (index, site) in config.sites.iter().enumerate().filter(|(_, site)| is_behind(site)) {
        for (number, location) in site.locations.iter().enumerate() {
            let Handler::App { app, .. } = &*location.handler else { continue };
            let Some(app) = config.apps.get(*app).filter(|app| app.reload_on_change) else { continue };
            let place = Place::named(&config.origin, format!("sites[{index}].locations[{number}].to"));
            let what = format!(
                "the app `{}` has `reload_on_change`, and the site is one of `trusted_proxies`",
                app.name
            );
            let hint = "leave `reload_on_change` off where others than those who write the code are served: deploy with \
                        `hatchery reload`";
            found.push(place.problem(Complaint::new(what, hint)));
        }
    }
    found
}
