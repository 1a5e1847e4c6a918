//! A scenario as a picture: a row for each instance, coloured by how it stood, and above them what was decided.

use std::fmt::Write as _;

use pilothouse_core::instance::{Health, State};

use crate::tick::{Instances, Line, Tick, TickKind};

/// Rows that are drawn; a picture with more can't be read.
const MAX_ROWS: usize = 400;
const WIDTH: f64 = 960.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 84.0;
const ROW: f64 = 14.0;

/// How an instance stood, as far as a picture tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Starting,
    Unheard,
    Well,
    Asked,
    Unhealthy,
    Ending,
}

impl Look {
    const ALL: [Self; 6] = [Self::Starting, Self::Unheard, Self::Well, Self::Asked, Self::Unhealthy, Self::Ending];

    fn of(state: State, health: Health) -> Option<Self> {
        match (state, health) {
            (State::Terminating, _) => Some(Self::Ending),
            (state, _) if state.is_gone() => None,
            (State::RunningFailed, _) => Some(Self::Unhealthy),
            (_, health) if !health.is_healthy() => Some(Self::Unhealthy),
            (state, _) if state.is_starting() => Some(Self::Starting),
            (_, Health::OutOfContact) => Some(Self::Asked),
            (_, Health::Unknown) => Some(Self::Unheard),
            _ => Some(Self::Well),
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Starting => "#9ecae1",
            Self::Unheard => "#c7e9c0",
            Self::Well => "#41ab5d",
            Self::Asked => "#fed976",
            Self::Unhealthy => "#e6550d",
            Self::Ending => "#969696",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unheard => "running, not heard yet",
            Self::Well => "running, well",
            Self::Asked => "out of contact",
            Self::Unhealthy => "unhealthy",
            Self::Ending => "terminating",
        }
    }
}

/// Collects the lines of a scenario for a picture.
#[derive(Debug, Default)]
pub struct Plot {
    title: String,
    /// The most instances at once, also those that are not drawn.
    most: usize,
    stood: Vec<(f64, Instances)>,
    /// When, and what a mark says.
    marks: Vec<(f64, &'static str, String)>,
}

impl Plot {
    /// The next line.
    pub fn add(&mut self, line: &Line) {
        match line {
            Line::Scenario { title, engine, domain, .. } => {
                let title = if title.is_empty() { domain } else { title };
                self.title = format!("{title} ({} {})", engine.name, engine.version);
            }
            Line::Event { .. } | Line::End(_) => {}
            Line::Tick(tick) => {
                self.mark(tick);
                self.most = self.most.max(tick.instances.len());
                self.stood.push((tick.at, tick.instances.iter().take(MAX_ROWS).copied().collect()));
            }
        }
    }

    fn mark(&mut self, tick: &Tick) {
        let reason = tick.engine.as_ref().map_or("", |said| said.reason.as_str());
        let mut mark = |colour, text: String| self.marks.push((tick.at, colour, text));
        for fault in &tick.faults {
            mark("#d7301f", format!("{} s: fault: {fault}", tick.at));
        }
        for held in &tick.refusals {
            mark("#807dba", format!("{} s: {} held back {} of {}s: {}", tick.at, held.guard, held.held_back, held.request, held.because));
        }
        if tick.tick == TickKind::Decide && tick.engine.as_ref().is_some_and(|said| said.recorded) {
            mark("#08519c", format!("{} s: {reason}", tick.at));
        }
    }

    /// The picture, as SVG.
    pub fn svg(&self) -> String {
        let end = self.stood.last().map_or(0.0, |(at, _)| *at).max(1e-3);
        let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
        let rows = self.most.min(MAX_ROWS);
        let bottom = TOP + rows as f64 * ROW;
        let height = bottom + 40.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            escaped(&self.title)
        );
        let mut at = LEFT;
        for look in Look::ALL {
            let _ = writeln!(svg, "<rect x=\"{at}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{}\"/>", look.colour());
            let _ = writeln!(svg, "<text x=\"{}\" y=\"41\">{}</text>", at + 14.0, look.word());
            at += 34.0 + look.word().len() as f64 * 6.2;
        }
        for (at, colour, text) in &self.marks {
            let (x, y) = (x(*at), TOP - 14.0);
            let _ =
                writeln!(svg, "<path d=\"M{:.1} {:.1} l4 -9 h-8 z\" fill=\"{colour}\"><title>{}</title></path>", x, y + 9.0, escaped(text));
        }
        for row in 0..rows {
            let y = TOP + row as f64 * ROW;
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">#{row}</text>", LEFT - 6.0, y + ROW - 4.0);
            for (from, to, look) in self.stretches(row) {
                let width = (x(to) - x(from)).max(1.0);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"><title>#{row} {}, {from} s to {to} s</title></rect>",
                    x(from),
                    y + 1.0,
                    ROW - 2.0,
                    look.colour(),
                    look.word()
                );
            }
        }
        for tenth in 0..=10 {
            let at = end * f64::from(tenth) / 10.0;
            let _ = writeln!(svg, "<path d=\"M{0:.1} {bottom:.1} v5\" stroke=\"black\"/>", x(at));
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>", x(at), bottom + 18.0, rounded(at));
        }
        if self.most > rows {
            let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">and {} more instances</text>", height - 6.0, self.most - rows);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// From when to when an instance stood alike. As it stood at one tick, so it stands until the next.
    fn stretches(&self, row: usize) -> Vec<(f64, f64, Look)> {
        let mut all: Vec<(f64, f64, Look)> = Vec::new();
        let ends = self.stood.iter().skip(1).map(|(at, _)| *at).chain(self.stood.last().map(|(at, _)| *at));
        for ((from, instances), to) in self.stood.iter().zip(ends) {
            let look = instances.get(row).copied().flatten().and_then(|(state, health)| Look::of(state, health));
            match (look, all.last_mut()) {
                (Some(look), Some((_, end, same))) if *same == look && *end == *from => *end = to,
                (Some(look), _) => all.push((*from, to, look)),
                (None, _) => {}
            }
        }
        all
    }
}

fn rounded(at: f64) -> f64 {
    (at * 10.0).round() / 10.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Stood<'a> = (f64, &'a [Option<(State, Health)>]);

    fn plot(stood: &[Stood<'_>]) -> Plot {
        Plot { most: 1, stood: stood.iter().map(|(at, all)| (*at, all.to_vec())).collect(), ..Plot::default() }
    }

    #[test]
    fn a_stretch_goes_on_for_as_long_as_an_instance_stands_alike() {
        let (well, ill) = (Some((State::Running, Health::Ok)), Some((State::Running, Health::Missing)));
        let gone = Some((State::Terminated, Health::Unknown));
        let plot = plot(&[(0.0, &[]), (1.0, &[well]), (2.0, &[well]), (5.0, &[ill]), (7.0, &[gone]), (9.0, &[None])]);
        assert_eq!(plot.stretches(0), [(1.0, 5.0, Look::Well), (5.0, 7.0, Look::Unhealthy)]);
    }

    #[test]
    fn what_lasts_to_the_end_is_drawn_to_the_end() {
        let well = Some((State::Running, Health::Ok));
        let plot = plot(&[(0.0, &[well]), (3.0, &[well]), (4.0, &[well])]);
        assert_eq!(plot.stretches(0), [(0.0, 4.0, Look::Well)]);
    }

    #[test]
    fn a_picture_is_well_formed_whatever_the_title_says() {
        let mut plot = plot(&[(0.0, &[Some((State::Pending, Health::Unknown))]), (3.0, &[])]);
        plot.title = "<&\">".to_owned();
        let svg = plot.svg();
        assert!(svg.contains("&lt;&amp;&quot;&gt;") && svg.contains(Look::Starting.colour()));
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
