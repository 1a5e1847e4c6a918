//! What came of a decision in a fake domain.

use crate::{Destroyed, InstanceId, LaunchRequest, Launched, Level, Refusal, Settings, Status, Wake};

/// What an engine has decided, and what it was granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether the domain is as the policy wants it.
    pub status: Status,
    /// In words.
    pub reason: String,
    /// The figures behind it.
    pub figures: Vec<(String, f64)>,
    /// When to be asked next, if not after the domain's pulse.
    pub wake: Option<Wake>,
    /// What the engine logged.
    pub log: Vec<(Level, String)>,
    /// What it asked for and was answered, in its order.
    pub asked: Vec<Asked>,
}

/// A request, and its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// For instances.
    Launch {
        /// What was asked for.
        request: LaunchRequest,
        /// What was granted.
        answer: Result<Launched, Refusal>,
    },
    /// For the end of instances.
    Destroy {
        /// Whose end.
        ids: Vec<InstanceId>,
        /// Why.
        reason: String,
        /// What was granted.
        answer: Result<Destroyed, Refusal>,
    },
    /// For settings.
    Configure {
        /// What was asked for.
        settings: Settings,
        /// Whether it was granted.
        answer: Result<(), Refusal>,
    },
}

impl Decision {
    /// The instances that were granted, in the order in which they were asked for.
    #[must_use]
    pub fn launched(&self) -> Vec<InstanceId> {
        let granted = |asked: &Asked| match asked {
            Asked::Launch { answer: Ok(launched), .. } => launched.instances.clone(),
            _ => Vec::new(),
        };
        self.asked.iter().flat_map(granted).collect()
    }

    /// The instances whose end was granted, in the order in which they were named.
    #[must_use]
    pub fn terminated(&self) -> Vec<InstanceId> {
        let granted = |asked: &Asked| match asked {
            Asked::Destroy { answer: Ok(destroyed), .. } => destroyed.accepted.clone(),
            _ => Vec::new(),
        };
        self.asked.iter().flat_map(granted).collect()
    }

    /// A figure by its name.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// What was asked for, granted or not, a line each: `launch 2`, `launch 1 port=80 for x` in the place of x, `destroy a b (missing)`, `configure`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.asked.iter().map(ToString::to_string).collect()
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Launch { request, .. } => {
                write!(f, "launch {}", request.count)?;
                request.extra_vars.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
                request.replaces.iter().try_for_each(|id| write!(f, " for {id}"))
            }
            Self::Destroy { ids, reason, .. } => write!(f, "destroy {} ({reason})", ids.join(" ")),
            Self::Configure { .. } => f.write_str("configure"),
        }
    }
}
