//! `doctor`: is this machine fit, and what to do if not.

use super::output::Format;
use super::{Context, Exit, Failure, Run, output};
use crate::config::Config;
use crate::doctor::{Check, Machine, Report, Status, examine};

/// Look whether this machine is fit for a node, and say what to do if not
///
/// Looks at /dev/shm, memory cgroup, huge pages, memory domains, limits, io_uring, RemoveIPC, paths and processor. It
/// changes nothing. Ends with 1 if a node could not run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node doctor
  cascade-node doctor --profile perlmutter
  srun --ntasks-per-node=1 cascade-node doctor --json
")]
pub(super) struct Args {
    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (config, mut checks) = match context.configuration() {
            Ok(loaded) => (loaded.config, vec![Check::ok("configuration", "is sound")]),
            // The machine is worth looking at all the same.
            Err(problems) => {
                let found = problems.to_string();
                (Config::default(), vec![Check::fail("configuration", found, "mend it; the rest uses the defaults")])
            }
        };
        checks.extend(examine(&Machine::here(), &config));
        let report = Report::from(checks);
        if self.format.json {
            output::json(&report)?;
        } else {
            output::text(&table(&report))?;
        }
        Ok(if report.fit { Exit::Done } else { Exit::Failed })
    }
}

fn table(report: &Report) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in &report.checks {
        out += &format!("{:4}  {:width$}  {}\n", word(check.status), check.name, check.found);
        if let Some(advice) = &check.advice {
            out += &format!("      {:width$}  → {advice}\n", "");
        }
    }
    let count = |status| report.checks.iter().filter(|check| check.status == status).count();
    out += &format!("\n{} ok, {} to mind, {} failed\n", count(Status::Ok), count(Status::Warn), count(Status::Fail));
    out
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    }
}
