//! Who answers an engine's questions.
//!
//! A source speaks for one call of an engine: it does not change during it but for what is drawn and asked for. Its functions take
//! `&self`, because an engine holds a domain and a control at once; a source that counts or collects uses a cell.

use std::time::Duration;

use crate::{
    Cause, Columns, Counts, Destroyed, Filter, Instance, InstanceId, LaunchRequest, Launched, RateBudget, Refusal, Sample, Scope, Settings,
    SiteReport, Statistic, Timestamp, Vars,
};

/// Stands behind a [`Domain`](crate::Domain), whose functions of the same names tell what each has to answer.
#[expect(missing_docs, reason = "the functions of `Domain` are documented, and say more")]
pub trait DomainSource {
    fn owner(&self) -> String;
    fn name(&self) -> String;
    fn now(&self) -> Timestamp;
    fn random(&self) -> u64;
    fn cause(&self) -> Cause;
    fn config(&self) -> String;
    fn config_revision(&self) -> u64;
    fn provisioner_vars(&self) -> Vars;
    fn counts(&self) -> Counts;
    fn instances(&self, filter: &Filter, limit: Option<u32>) -> Vec<Instance>;
    fn unhealthy(&self, limit: Option<u32>) -> Vec<Instance>;
    fn instance(&self, id: &str) -> Option<Instance>;
    fn instance_at(&self, row: u32) -> Option<Instance>;
    fn columns(&self, filter: &Filter) -> Columns;
    fn sites(&self) -> Vec<SiteReport>;
    fn changed(&self, limit: Option<u32>) -> Vec<Instance>;
    fn sensor(&self, metric: &str, scope: &Scope, statistic: Statistic, window: Duration) -> Sample;
    fn sensor_of_all(&self, metric: &str, statistic: Statistic, window: Duration) -> Vec<(InstanceId, Sample)>;
    fn series(&self, metric: &str, scope: &Scope, window: Duration, limit: u32) -> Vec<(Timestamp, f64)>;
    fn health_monitored(&self) -> bool;
}

/// Stands behind a [`Control`](crate::Control).
#[expect(missing_docs, reason = "the functions of `Control` are documented, and say more")]
#[expect(clippy::missing_errors_doc, reason = "the functions of `Control` are documented, and say more")]
pub trait ControlSource {
    fn launch(&self, request: LaunchRequest) -> Result<Launched, Refusal>;
    fn destroy_instances(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal>;
    fn destroy_launch(&self, launch: &str, reason: &str) -> Result<Destroyed, Refusal>;
    fn budget(&self) -> RateBudget;
    fn configure(&self, settings: &Settings) -> Result<(), Refusal>;
}

/// Stands behind a [`Setup`](crate::Setup).
#[expect(missing_docs, reason = "the function of `Setup` is documented, and says more")]
#[expect(clippy::missing_errors_doc, reason = "the function of `Setup` is documented, and says more")]
pub trait SetupSource {
    fn configure(&self, settings: &Settings) -> Result<(), Refusal>;
}
