//! Who we are: user, job and instance make the node's place.

use cascade_core::place::JOB_VARIABLES;

use super::{Check, Machine};
use crate::config::Config;

pub(super) fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    let job = match job(machine) {
        Some((variable, id)) => format!("job {id} ({variable})"),
        None => "no job".to_owned(),
    };
    vec![Check::ok("identity", format!("user {}, {job}, instance {}", machine.uid, config.instance))]
}

/// The job and the variable that names it.
pub(super) fn job(machine: &Machine) -> Option<(&'static str, &str)> {
    JOB_VARIABLES.into_iter().find_map(|name| Some((name, machine.variable(name)?)))
}
