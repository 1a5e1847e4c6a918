//! What was measured, as a table for people and as JSON for programs: the same values.

use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::measure::Samples;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Seconds.
    Seconds,
    /// Events a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Units of fuel.
    Fuel,
    /// So many of something that can be counted.
    Count,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The figure itself, in its unit, at most.
    AtMost(f64),
    /// The figure itself, in its unit, at least.
    AtLeast(f64),
    /// The figure over its reference, at most.
    RatioAtMost(f64),
    /// The figure over its reference, at least.
    RatioAtLeast(f64),
}

/// What something is held against, measured by turns with it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reference {
    /// What it is.
    pub(crate) what: String,
    /// The median of its rounds.
    pub(crate) median: f64,
    /// The median of the ratios of each round.
    pub(crate) ratio: f64,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// What the numbers count.
    pub(crate) unit: Unit,
    /// The median of the rounds.
    pub(crate) median: f64,
    /// A tenth of the rounds lies below.
    pub(crate) tenth: f64,
    /// A tenth of the rounds lies above.
    pub(crate) ninetieth: f64,
    /// What it is held against. A target in ratios is one over the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) references: Vec<Reference>,
    /// What is to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<bool>,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: Unit, samples: &Samples) -> Self {
        Self {
            what: what.into(),
            unit,
            median: samples.median(),
            tenth: samples.quantile(0.1),
            ninetieth: samples.quantile(0.9),
            references: Vec::new(),
            target: None,
            reached: None,
        }
    }

    /// Held against a reference, which was measured by turns with it. `samples` are those of the figure.
    pub(crate) fn beside(mut self, what: impl Into<String>, samples: &Samples, reference: &Samples) -> Self {
        let ratio = samples.over(reference).median();
        self.references.push(Reference { what: what.into(), median: reference.median(), ratio });
        self
    }

    /// With what is to be reached.
    pub(crate) fn target(mut self, target: Target) -> Self {
        let ratio = self.references.first().map_or(f64::NAN, |reference| reference.ratio);
        self.reached = Some(match target {
            Target::AtMost(most) => self.median <= most,
            Target::AtLeast(least) => self.median >= least,
            Target::RatioAtMost(most) => ratio <= most,
            Target::RatioAtLeast(least) => ratio >= least,
        });
        self.target = Some(target);
        self
    }
}

/// What came of one row.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// Its figures.
    pub(crate) figures: Vec<Figure>,
    /// What must be known to read them.
    pub(crate) notes: Vec<String>,
}

/// One row of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What `--filter` finds.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// Why nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

/// Everything that was measured in one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// What must be known of the run.
    pub(crate) warnings: Vec<String>,
    /// What came of it.
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        for row in &self.rows {
            text += &row.to_text();
        }
        text
    }
}

impl Row {
    /// For people. Starts with an empty line.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.name, self.about);
        let width = self.outcome.figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or(0);
        for figure in &self.outcome.figures {
            let Figure { what, unit, median, tenth, ninetieth, references, target, reached } = figure;
            let spread = format!("({} to {})", unit.show(*tenth), unit.show(*ninetieth));
            let _ = write!(text, "  {what:<width$}  {:>10} {spread:<24}", unit.show(*median));
            for (place, Reference { what, median, ratio }) in references.iter().enumerate() {
                let comma = if place > 0 { "," } else { "" };
                let _ = write!(text, "{comma} {} {what} {}", times(*ratio), unit.show(*median));
            }
            if let (Some(target), Some(reached)) = (target, reached) {
                let _ = write!(text, "  target {}: {}", target.show(*unit), if *reached { "reached" } else { "MISSED" });
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        for note in &self.outcome.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        if let Some(why) = &self.failed {
            let _ = writeln!(text, "  not measured: {why}");
        }
        text
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        let scaled = |units: &[(f64, &str)]| {
            let fits = units.iter().find(|(size, _)| value.abs() >= *size).or_else(|| units.last());
            fits.map_or_else(|| value.to_string(), |(size, unit)| format!("{} {unit}", digits(value / size)))
        };
        match self {
            Self::Seconds => scaled(&[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]),
            Self::PerSecond => scaled(&[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")]),
            Self::Bytes => scaled(&[(1024.0 * 1024.0 * 1024.0, "GiB"), (1024.0 * 1024.0, "MiB"), (1024.0, "KiB"), (1.0, "B")]),
            Self::Count if value.fract() == 0.0 => format!("{value}"),
            Self::Count => digits(value),
            Self::Fuel => scaled(&[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]).trim_end().to_owned(),
        }
    }
}

/// So many times a reference; or so much of it, when it is little.
fn times(ratio: f64) -> String {
    if ratio >= 0.1 || ratio == 0.0 { format!("{ratio:>6.2} x") } else { format!("{:>6} % of", digits(ratio * 100.0)) }
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Target {
    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("at most {}", unit.show(most)),
            Self::AtLeast(least) => format!("at least {}", unit.show(least)),
            Self::RatioAtMost(most) => format!("at most {most} x"),
            Self::RatioAtLeast(least) => format!("at least {least} x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_in_the_unit_that_fits() {
        assert_eq!(Unit::Seconds.show(0.000_014_3), "14.3 µs");
        assert_eq!(Unit::Seconds.show(2e-10), "0.20 ns");
        assert_eq!(Unit::PerSecond.show(123_456.0), "123 k/s");
        assert_eq!(Unit::Bytes.show(1024.0 * 1024.0 * 1024.0), "1.00 GiB");
        assert_eq!(Unit::Fuel.show(31_400.0), "31.4 k");
        assert_eq!(Unit::Fuel.show(7.0), "7.00");
        assert_eq!(Unit::Count.show(40_213.0), "40213");
        assert_eq!(Unit::Count.show(1.5), "1.50");
    }

    #[test]
    fn a_target_is_judged_by_what_it_is_about() {
        let (subject, reference) = (Samples::of([3.0]), Samples::of([2.0]));
        let figure = || Figure::new("x", Unit::Seconds, &subject).beside("y", &subject, &reference);
        assert_eq!(figure().target(Target::RatioAtMost(1.5)).reached, Some(true));
        assert_eq!(figure().target(Target::RatioAtMost(1.4)).reached, Some(false));
        assert_eq!(figure().target(Target::AtMost(2.9)).reached, Some(false));
        assert_eq!(figure().target(Target::AtLeast(2.9)).reached, Some(true));
    }

    #[test]
    fn a_figure_is_shown_beside_each_of_its_references() {
        let (subject, bare, limit) = (Samples::of([3e-6]), Samples::of([2e-6]), Samples::of([1e-3]));
        let figure = Figure::new("x", Unit::Seconds, &subject).beside("bare", &subject, &bare).beside("limit", &subject, &limit);
        let outcome = Outcome { figures: vec![figure.target(Target::RatioAtLeast(1.4))], notes: Vec::new() };
        let text = Row { name: "row", about: "about", outcome, failed: None }.to_text();
        assert!(text.contains("  1.50 x bare 2.00 µs,   0.30 % of limit 1.00 ms  target at least 1.4 x: reached\n"), "{text}");
    }

    #[test]
    fn a_ratio_without_a_reference_is_never_reached() {
        let figure = Figure::new("x", Unit::Seconds, &Samples::of([1.0]));
        assert_eq!(figure.clone().target(Target::RatioAtMost(10.0)).reached, Some(false));
        assert_eq!(figure.target(Target::RatioAtLeast(0.0)).reached, Some(false));
    }
}
