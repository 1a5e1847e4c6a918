//! `pilothouse history`: what happened in a domain, by time.

use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;

use super::caller::CallerArgs;
use super::moment;
use crate::api::{History, HistoryOf, Operation};
use crate::output::{happening, moment as shown};

/// Of which domain and time, and how to reach the hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse history web                              the newest hundred things that happened
  pilothouse history web --since -1h                  those of the last hour
  pilothouse history web --since 03:00 --until 03:30  those of half an hour, UTC
  pilothouse history web --instance 7                 those of instance web/7
  pilothouse history web --last 1000 --output json | jq '.happenings[] | select(.event == \"faulted\")'

It is read from the journal, as far as that goes back; domains that were removed are told of as well. `pilothouse events` prints the
same lines as things happen, and `pilothouse why` tells the reasons.")]
pub(crate) struct HistoryArgs {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    domain: Name,
    /// From then on: 2026-11-21T03:12:00Z, 03:12 or 03:12:30 (UTC, the last time it was that late), or -10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = past)]
    since: Option<Timestamp>,
    /// Up to then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = past)]
    until: Option<Timestamp>,
    /// The newest N of them [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: Option<u32>,
    /// Only of this instance: its number or its id
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

fn past(text: &str) -> Result<Timestamp, String> {
    moment::parse(text, crate::clock::now())
}

/// Asks, and shows the answer.
pub(crate) async fn run(args: HistoryArgs) -> anyhow::Result<()> {
    let HistoryArgs { domain, since, until, last, instance, client } = args;
    let request = HistoryOf { domain: domain.to_string(), instance, since, until, limit: last };
    let history: History = client.connect().await?.call(Operation::DomainHistory, &request).await?;
    Ok(client.output.print(&history, text)?)
}

/// A line each, oldest first.
fn text(history: &History) -> String {
    if history.happenings.is_empty() {
        return format!("nothing happened in domain {} then", history.domain);
    }
    let mut text = String::new();
    if history.more {
        text += "there is more before this; --until or a larger --last shows it\n";
    }
    for it in &history.happenings {
        text += &format!("{}  {}\n", shown(it.at), happening::line(it));
    }
    text
}

#[cfg(test)]
mod tests {
    use pilothouse_core::domain::{Happened, Happening};

    use super::*;

    #[test]
    fn what_happened_is_told_with_its_time_and_what_is_left_out_is_said() {
        let domain: Name = "web".parse().expect("a name");
        let key = pilothouse_core::name::DomainKey { owner: "ann".parse().expect("a name"), name: domain.clone() };
        let happening = |secs, what| Happening { domain: key.clone(), at: Timestamp::from_secs(secs), what };
        let taken = Happened::Taken { host: "h1".parse().expect("a name"), epoch: 2 };
        let happenings = vec![happening(1_795_241_128, taken), happening(1_795_241_130, Happened::Removed)];
        let lines = "2026-11-21 06:05:28Z  web: taken by host h1 (epoch 2)\n2026-11-21 06:05:30Z  web: removed\n";
        let mut history = History { domain, happenings, more: false };
        assert_eq!(text(&history), lines);
        history.more = true;
        assert_eq!(text(&history), format!("there is more before this; --until or a larger --last shows it\n{lines}"));
        history.happenings.clear();
        assert_eq!(text(&history), "nothing happened in domain web then");
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        assert!(past("-10m").is_ok());
        assert!(past("soon").expect_err("no time").contains("expected a time"));
    }
}
