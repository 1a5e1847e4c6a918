//! The journal keeps its promises: one contract, in memory, on one server and on a cluster of three; and through outages of real servers.

mod contract;
mod faults;
mod fixture;
mod link;
mod outage;
mod pen;
mod streams;

use anyhow::{Context, Result};
use pilothouse_tests::nats::{NatsCluster, NatsServer};

use self::fixture::{InMemory, Served};

/// Makes a test of each rule in memory and on a server of its own, and one test that goes through them all on a cluster.
macro_rules! contract {
    ($($rule:ident)*) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test]
            async fn $rule() -> Result<()> {
                contract::$rule(&InMemory::default()).await
            })*
        }

        mod on_one_server {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() -> Result<()> {
                let server = NatsServer::start().await?;
                contract::$rule(&Served::by(&server)).await
            })*
        }

        /// Starting a cluster takes seconds, so the rules share one; each has streams of its own.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn every_rule_holds_on_a_cluster_of_three() -> Result<()> {
            let cluster = NatsCluster::start(3).await?;
            let mut number = 0;
            $(
                number += 1;
                contract::$rule(&Served::in_cluster(&cluster, number)).await.context(stringify!($rule))?;
            )*
            Ok(())
        }
    };
}

contract! {
    a_domain_that_was_never_written_expects_nothing
    an_append_that_does_not_follow_the_newest_record_is_fenced
    an_append_whose_acknowledgement_is_lost_is_committed_once
    a_foreign_record_fences_the_writer_that_wrote_before
    a_foreign_record_fences_a_writer_that_never_wrote
    of_two_racing_writers_one_wins_every_round
    one_domain_has_one_append_in_flight
    a_journal_that_lost_its_end_is_not_mistaken_for_a_fence
    a_load_begins_at_the_newest_snapshot
    a_purge_keeps_the_fence
    a_purge_leaves_the_newest_snapshot_whatever_is_asked
    a_name_that_is_added_again_continues_the_sequence
    history_is_read_newest_first_and_ends_where_it_was_purged
    a_record_too_large_for_one_message_comes_back_whole
    a_record_too_large_for_anything_is_refused
    a_full_journal_says_so_and_goes_on_when_there_is_room
    a_thousand_domains_append_at_once_and_load_together
}
