//! What `hatchery dev` makes of a configuration.

use super::Config;
use super::log::AccessLog;
use crate::accesslog::Format;
use std::time::Duration;

/// What goes on after an edit, or a Ctrl-C, is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);

impl Config {
    /// Every app is rolled when its code changes; what is old leaves soon; and the access log, unless the file says something
    /// of it, is for who watches the terminal. `live_reload`: pages load themselves again.
    pub(crate) fn develop(&mut self, live_reload: bool) {
        for app in &mut self.apps {
            app.reload_on_change = true;
            app.live_reload |= live_reload;
        }
        self.drain_timeout = self.drain_timeout.min(PATIENCE);
        self.shutdown_timeout = self.shutdown_timeout.min(PATIENCE);
        if self.log.access == Some(AccessLog::default()) {
            self.log.access = Some(AccessLog { format: Format::Short, ..AccessLog::default() });
        }
    }
}
