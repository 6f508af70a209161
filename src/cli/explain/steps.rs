//! What is told, step by step.

use serde::Serialize;

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

/// One of them: what it is about, and what is said.
#[derive(Clone, Debug, Serialize)]
struct Step {
    step: &'static str,
    says: String,
}

/// All of them, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    url: String,
    /// What is answered, as far as that is known without asking an app or upstream.
    status: Option<u16>,
    steps: Vec<Step>,
}

impl Steps {
    pub(super) fn say(&mut self, step: &'static str, says: impl Into<String>) {
        self.0.push(Step { step, says: says.into() });
    }

    /// For people: what it is about, once for several.
    pub(super) fn lines(&self) -> String {
        let width = self.0.iter().map(|step| step.step.len()).max().unwrap_or_default();
        let mut before = "";
        let mut text = String::new();
        for Step { step, says } in &self.0 {
            let shown = if *step == before { "" } else { step };
            before = step;
            // A value may have several lines.
            let says = says.replace('\n', &format!("\n{:width$}  ", ""));
            text.push_str(&format!("{shown:width$}  {says}\n"));
        }
        text
    }

    pub(super) fn told(&self, url: &str, status: Option<u16>) -> Told {
        Told { url: url.to_owned(), status, steps: self.0.clone() }
    }
}
