//! The part of an exchange that knows what its place says of the heads of responses.

use super::{Exchange, Request};
use crate::config::Config;
use crate::http::location::Parts;
use crate::http::written;
use crate::policy::Policies;
use crate::policy::cors::Cors;
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use crate::worker::heads::HeadPolicy;
use std::rc::Rc;

impl Exchange {
    /// Has the head of the response be as the place of the request says: to be called when that is known, and whenever it has
    /// become another one.
    #[inline]
    pub(super) fn heed_place(&self, drive: &mut Drive<'_>) {
        let policy = match self.policies(drive.config) {
            Some(
                policies @ Policies { headers: Some(_), .. } | policies @ Policies { cors: Some(_), .. },
            ) => self.head_policy(policies, drive.config, drive.cx),
            // It may have been led here from a place that speaks of other origins.
            _ if self.is_led() => self.head_policy(&Policies::default(), drive.config, drive.cx),
            _ => None,
        };
        drive.reply.set_policy(policy);
    }

    #[cold]
    fn head_policy(&self, policies: &Policies, config: &Config, cx: &Context) -> Option<HeadPolicy> {
        let request = self.request.as_ref()?;
        let headers = policies.headers.as_ref().filter(|headers| !headers.is_empty());
        let cors = self.cors(policies, config);
        if headers.is_none() && cors.is_none() {
            return None;
        }
        let policy = HeadPolicy::new(headers, |headers| {
            request.with_parts(cx, |parts| headers.fill(parts, &request.facts(config)))
        });
        Some(match cors {
            Some(cors) => policy.with_cors(cors, self.head_of_client().unwrap_or(&request.head)),
            None => policy,
        })
    }

    /// What is said of other origins where the client has asked: a preflight was answered there, not where an app has led.
    fn cors<'a>(&self, policies: &'a Policies, config: &'a Config) -> Option<&'a Rc<Cors>> {
        let Some((site, location)) = self.first_place() else { return policies.cors() };
        config.sites.get(site)?.locations.get(location)?.policies.cors()
    }
}

impl Request {
    /// What templates refer to.
    pub(super) fn with_parts<T>(&self, cx: &Context, take: impl FnOnce(&Parts<'_>) -> T) -> T {
        let raw = self.head.target();
        let path = self.target.path();
        let rest = self.place.map_or(path, |(site, place)| cx.table.rest(site, place, path));
        take(&Parts {
            rest: &written::rest_as_written(&self.target, raw, rest),
            path: &written::path_as_written(&self.target, raw),
            query: self.target.query(raw).unwrap_or_default(),
            host: self.authority(),
            scheme: self.origin.scheme.as_str(),
            ..Parts::default()
        })
    }
}
