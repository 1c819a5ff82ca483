//! Progress bars, if there is a terminal for them.

use std::fmt;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::resource::Resource;

/// A bar for a list, labelled `name`; hidden without a terminal.
pub(super) async fn progress_bar(resource: &Resource, name: &str, terminal: bool) -> ProgressBar {
    if !terminal {
        return ProgressBar::hidden();
    }
    let total = resource.source().count(Default::default()).await;
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{prefix} {wide_bar} {human_pos}/{human_len} rows  {rate}  {msg}  {eta} left",
        None => "{prefix} {spinner} {human_pos} rows  {rate}  {msg}",
    };
    bar.with_style(with_rate(template)).with_prefix(name.to_owned())
}

/// A bar's style in which `{rate}` is rows per second. Indicatif's own rate has four decimals.
pub(super) fn with_rate(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("a right template");
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{} rows/s", HumanCount(state.per_sec() as u64));
    })
}
