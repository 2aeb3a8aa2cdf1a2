//! What `mcpvisor bench` says in the end, as a table or as JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::{
    measure::{Figures, ratio},
    process::{Family, Usage},
};
use crate::cli::output;

/// Everything measured in one run of the command.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) target: String,
    pub(super) era: &'static str,
    pub(super) tool: String,
    pub(super) runs: Vec<Run>,
}

/// One concurrency.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) concurrency: usize,
    #[serde(flatten)]
    pub(super) figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Used>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) children: Option<Used>,
}

/// What a process used for the calls.
#[derive(Debug, Serialize)]
pub(super) struct Used {
    pub(super) cpu_ms_per_call: f64,
    #[serde(flatten)]
    pub(super) after: Usage,
}

impl Run {
    pub(super) fn new(concurrency: usize, figures: Figures, used: Option<(Family, Family)>) -> Self {
        let of = |before: Usage, after: Usage| Used {
            cpu_ms_per_call: 1e3 * after.cpu.saturating_sub(before.cpu).as_secs_f64()
                / ratio(figures.calls.max(1), 1.0),
            after,
        };
        let process = used.map(|(before, after)| of(before.itself, after.itself));
        let children = used
            .filter(|(_, after)| after.children.processes > 0)
            .map(|(before, after)| of(before.children, after.children));
        Self {
            concurrency,
            figures,
            process,
            children,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}), tool {}", self.target, self.era, self.tool)?;
        let head = ["in flight", "calls/s", "p50 ms", "p99 ms", "max ms", "calls", "errors"];
        write_row(f, &head.map(str::to_owned))?;
        for run in &self.runs {
            let figures = &run.figures;
            write_row(
                f,
                &[
                    run.concurrency.to_string(),
                    format!("{:.0}", figures.calls_per_second),
                    format!("{:.3}", figures.p50_ms),
                    format!("{:.3}", figures.p99_ms),
                    format!("{:.3}", figures.max_ms),
                    figures.calls.to_string(),
                    figures.errors.to_string(),
                ],
            )?;
        }
        for run in &self.runs {
            for (name, used) in [("process", &run.process), ("children", &run.children)] {
                let Some(used) = used else { continue };
                writeln!(
                    f,
                    "{name} at {}: {:.3} ms CPU per call, {:.1} MiB resident, {:.1} MiB private",
                    run.concurrency, used.cpu_ms_per_call, used.after.rss_mib, used.after.private_mib
                )?;
            }
            for (failure, count) in &run.figures.failures {
                writeln!(f, "errors at {}: {count} x {failure}", run.concurrency)?;
            }
        }
        Ok(())
    }
}

fn write_row<const N: usize>(f: &mut fmt::Formatter<'_>, cells: &[String; N]) -> fmt::Result {
    for cell in cells {
        write!(f, "{cell:>11}")?;
    }
    f.write_char('\n')
}

/// Prints it.
pub(super) fn print<T: fmt::Display + Serialize>(report: &T, as_json: bool) -> anyhow::Result<()> {
    let text = if as_json {
        serde_json::to_string_pretty(report)? + "\n"
    } else {
        report.to_string()
    };
    output::answer(&text);
    Ok(())
}
