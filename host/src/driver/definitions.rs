//! The definitions, as a bucket keeps them: the name is the key, and every change is made by compare-and-set on the revision of the key.
//!
//! Any host serves them, so nothing of them is held in memory. Reads go to the leader of the bucket: who has just added a definition finds
//! it, whichever host is asked next. With a definition its newest answers are kept, so that a request that comes again, at another host
//! perhaps, is answered the same; a removal leaves them behind where the definition was.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::bucket::{self, BucketError, OPERATION};
use crate::api::DefinitionSummary;
use crate::failpoint;

/// What a key says that was removed.
const REMOVED: &str = "DEL";

/// How many answers are kept with a definition: more than one request is hardly ever under way.
const MAX_ANSWERS: usize = 16;

/// How often a change that others are faster with is tried. Those of one host take turns, so only other hosts can be.
const ATTEMPTS: u32 = 20;

/// How long a change waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Definitions that are read at the same time for a list.
const READS: usize = 16;

/// The bucket of definitions.
#[derive(Debug)]
pub(crate) struct Definitions {
    jetstream: jetstream::Context,
    store: Store,
    /// Changes of this host, one after the other: they would only get in each other's way.
    turn: Mutex<()>,
}

/// What is kept under one name.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Of the newest write; 0 when there never was one.
    pub(crate) revision: u64,
    /// What that wrote.
    pub(crate) kept: Kept,
    /// What was answered to the newest requests that changed it, by their ids.
    answers: Vec<Answer>,
}

/// What a write left.
#[derive(Debug, PartialEq)]
pub(crate) enum Kept {
    /// No definition, or none any more.
    Nothing,
    /// A definition.
    Definition(Written),
    /// Something else, and what is wrong with it. It can be replaced or removed.
    Unreadable(String),
}

/// A definition as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The definition.
    pub(crate) definition: Value,
    /// The engine that its domains get unless they name one.
    pub(crate) engine: String,
    /// Who wrote it.
    pub(crate) by: Name,
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at: Timestamp,
}

/// What is to become of a definition.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// A new one.
    Add(Written),
    /// Another one in its place.
    Update(Written),
    /// None.
    Remove,
}

impl Wish {
    /// The last part of a failpoint's name.
    const fn failpoint(&self) -> &'static str {
        match self {
            Self::Add(_) => "add-definition",
            Self::Update(_) => "update-definition",
            Self::Remove => "remove-definition",
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answer {
    request: String,
    summary: DefinitionSummary,
}

/// The value of a key.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Nothing after a removal.
    #[serde(flatten)]
    written: Option<Written>,
    /// The request that this write carried out, and the engine that its answer names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<(String, String)>,
    /// Answers to requests before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Answer>,
}

impl Entry {
    fn never_written() -> Self {
        Self { revision: 0, kept: Kept::Nothing, answers: Vec::new() }
    }

    /// Reads a value, which anybody may have written who can write to the bucket.
    fn read(name: &Name, revision: u64, removed: bool, value: &[u8]) -> Self {
        let stored = match serde_json::from_slice::<Stored>(value) {
            Ok(stored) => stored,
            // Other clients leave nothing behind when they remove a key.
            Err(_) if removed => return Self { revision, ..Self::never_written() },
            Err(error) => return Self { revision, kept: Kept::Unreadable(error.to_string()), answers: Vec::new() },
        };
        let mut answers = stored.answers;
        if let Some((request, engine)) = stored.request {
            answers.push(Answer { request, summary: DefinitionSummary { name: name.clone(), engine, revision } });
        }
        let kept = match stored.written {
            _ if removed => Kept::Nothing,
            Some(written) => Kept::Definition(written),
            None => Kept::Unreadable("there is no definition in it".to_owned()),
        };
        Self { revision, kept, answers }
    }

    fn answer_to(&self, request: Option<&str>) -> Option<&DefinitionSummary> {
        self.answers.iter().rev().find(|answer| Some(answer.request.as_str()) == request).map(|answer| &answer.summary)
    }

    /// The write that makes a wish come true.
    ///
    /// # Errors
    /// `conflict` when it is there already, `not_found` when it is not.
    fn next(&self, name: &Name, wish: &Wish, request: Option<&str>) -> Result<Next, ApiError> {
        let (written, engine) = match (wish, &self.kept) {
            (Wish::Add(written), Kept::Nothing) => (Some(written.clone()), written.engine.clone()),
            (Wish::Add(_), Kept::Definition(_) | Kept::Unreadable(_)) => {
                return Err(ApiError::Conflict { message: format!("definition {name} is there already: update it, or remove it first") });
            }
            (Wish::Update(_) | Wish::Remove, Kept::Nothing) => return Err(not_found(name)),
            (Wish::Update(written), _) => (Some(written.clone()), written.engine.clone()),
            (Wish::Remove, Kept::Definition(old)) => (None, old.engine.clone()),
            (Wish::Remove, Kept::Unreadable(_)) => (None, String::new()),
        };
        let from = self.answers.len().saturating_sub(MAX_ANSWERS - 1);
        let request = request.map(|id| (id.to_owned(), engine.clone()));
        Ok(Next { removes: written.is_none(), stored: Stored { written, request, answers: self.answers[from..].to_vec() }, engine })
    }
}

/// A write, judged and not done yet.
#[derive(Debug)]
struct Next {
    removes: bool,
    stored: Stored,
    engine: String,
}

/// The answer about a definition that is not there.
pub(crate) fn not_found(name: &Name) -> ApiError {
    ApiError::NotFound { what: format!("definition {name}") }
}

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    ApiError::Unavailable { message: format!("the definitions: {error}; try again") }
}

impl Definitions {
    /// Opens the bucket, and makes it when it is not there.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub(crate) async fn open(jetstream: &jetstream::Context, bucket: &str, replicas: usize) -> Result<Self, BucketError> {
        let store = bucket::open(jetstream, bucket, "definitions: templates of domains", replicas).await?;
        Ok(Self { jetstream: jetstream.clone(), store, turn: Mutex::default() })
    }

    /// What is kept under a name.
    ///
    /// # Errors
    /// `unavailable` when JetStream does not answer.
    pub(crate) async fn entry(&self, name: &Name) -> Result<Entry, ApiError> {
        match self.store.stream.get_last_raw_message_by_subject(&bucket::subject(&self.store, name.as_str())).await {
            Ok(message) => {
                // Any mark but that of a write says that the key is gone.
                let operation = message.headers.get(OPERATION).map(|operation| operation.as_str());
                let removed = operation.is_some_and(|operation| operation != "PUT");
                Ok(Entry::read(name, message.sequence, removed, &message.payload))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(Entry::never_written()),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The definition of a name.
    ///
    /// # Errors
    /// `not_found` without one, `conflict` when something else is in its place, `unavailable` when JetStream does not answer.
    pub(crate) async fn get(&self, name: &Name) -> Result<(u64, Written), ApiError> {
        let entry = self.entry(name).await?;
        match entry.kept {
            Kept::Definition(written) => Ok((entry.revision, written)),
            Kept::Nothing => Err(not_found(name)),
            Kept::Unreadable(why) => {
                Err(ApiError::Conflict { message: format!("definition {name} can't be read ({why}): update it, or remove it") })
            }
        }
    }

    /// What is kept under every name that was ever written, in the order of the names.
    ///
    /// # Errors
    /// `unavailable` when JetStream does not answer.
    pub(crate) async fn all(&self) -> Result<Vec<(Name, Entry)>, ApiError> {
        let subjects = self.store.stream.info_with_subjects(bucket::subject(&self.store, "*")).await.map_err(unavailable)?;
        let written: Vec<(String, usize)> = subjects.try_collect().await.map_err(unavailable)?;
        let prefix = bucket::subject(&self.store, "");
        // A key that is no name was not written by a host, and no definition can be called like it.
        let mut names: Vec<Name> =
            written.iter().filter_map(|(subject, _)| subject.strip_prefix(&prefix)).filter_map(|key| key.parse().ok()).collect();
        names.sort_unstable();
        let reads: Vec<BoxFuture<'_, _>> = names.into_iter().map(|name| self.named_entry(name).boxed()).collect();
        futures::stream::iter(reads).buffered(READS).try_collect().await
    }

    async fn named_entry(&self, name: Name) -> Result<(Name, Entry), ApiError> {
        self.entry(&name).await.map(|entry| (name, entry))
    }

    /// What was answered to a request, if it is among the newest that changed this definition and they can be reached.
    pub(crate) async fn answered(&self, name: &Name, request: Option<&str>) -> Option<DefinitionSummary> {
        request?;
        self.entry(name).await.ok()?.answer_to(request).cloned()
    }

    /// Makes a wish come true, once for each id of a request.
    ///
    /// # Errors
    /// `conflict` when it is there already, `not_found` when it is not, `unavailable` when JetStream does not answer: then it may have
    /// come true.
    pub(crate) async fn change(&self, name: &Name, wish: &Wish, request: Option<&str>) -> Result<DefinitionSummary, ApiError> {
        let _turn = tokio::time::timeout(TURN, self.turn.lock()).await.map_err(|_| unavailable("too many changes at once"))?;
        for _ in 0..ATTEMPTS {
            let entry = self.entry(name).await?;
            if let Some(answer) = entry.answer_to(request) {
                return Ok(answer.clone());
            }
            let next = entry.next(name, wish, request)?;
            failpoint::reach("before-append", wish.failpoint());
            if let Some(revision) = self.put(name, entry.revision, &next).await? {
                failpoint::reach("after-append", wish.failpoint());
                return Ok(DefinitionSummary { name: name.clone(), engine: next.engine, revision });
            }
        }
        Err(unavailable(format!("{name} is being changed by too many at once")))
    }

    /// Writes if the key is still at `revision`. The new revision, or nothing when somebody was faster.
    async fn put(&self, name: &Name, revision: u64, next: &Next) -> Result<Option<u64>, ApiError> {
        let value = serde_json::to_vec(&next.stored).map_err(unavailable)?;
        let operation = next.removes.then_some(REMOVED);
        bucket::put(&self.jetstream, &self.store, name.as_str(), revision, value, operation).await.map_err(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn name() -> Name {
        "small".parse().expect("a name")
    }

    fn written(n: u32) -> Written {
        let by = "ann".parse().expect("a name");
        Written { definition: json!({"engine_conf": {"n": n}}), engine: format!("engine{n}"), by, at: Timestamp::from_secs(1) }
    }

    /// Makes wishes come true without a server, each as one write.
    fn played(wishes: &[(Wish, &str)]) -> (Entry, Vec<Result<DefinitionSummary, ApiError>>) {
        let (mut entry, mut answers) = (Entry::never_written(), Vec::new());
        for (wish, request) in wishes {
            if let Some(answer) = entry.answer_to(Some(request)) {
                answers.push(Ok(answer.clone()));
                continue;
            }
            answers.push(entry.next(&name(), wish, Some(request)).map(|next| {
                let value = serde_json::to_vec(&next.stored).expect("JSON");
                entry = Entry::read(&name(), entry.revision + 7, next.removes, &value);
                DefinitionSummary { name: name(), engine: next.engine, revision: entry.revision }
            }));
        }
        (entry, answers)
    }

    #[test]
    fn a_definition_is_added_once_replaced_whole_and_removed() {
        let (entry, answers) = played(&[(Wish::Add(written(1)), "a"), (Wish::Add(written(2)), "b"), (Wish::Update(written(3)), "c")]);
        assert_eq!(entry.kept, Kept::Definition(written(3)), "nothing of the first is left");
        assert_eq!(answers[1].as_ref().expect_err("a second one").kind(), "conflict");
        assert_eq!(answers[2].as_ref().map(|it| (it.engine.as_str(), it.revision)), Ok(("engine3", 14)));

        let (entry, answers) =
            played(&[(Wish::Add(written(1)), "a"), (Wish::Remove, "b"), (Wish::Remove, "c"), (Wish::Update(written(2)), "d")]);
        assert_eq!((entry.kept, answers[1].as_ref().map(|it| it.engine.as_str())), (Kept::Nothing, Ok("engine1")));
        for answer in &answers[2..] {
            assert_eq!(*answer, Err(ApiError::NotFound { what: "definition small".to_owned() }));
        }
    }

    #[test]
    fn a_request_that_comes_again_is_answered_the_same_whatever_came_between() {
        let (wish, other) = (Wish::Add(written(1)), Wish::Update(written(2)));
        let (entry, answers) =
            played(&[(wish.clone(), "a"), (other, "b"), (Wish::Remove, "c"), (wish.clone(), "a"), (Wish::Remove, "c"), (wish, "d")]);
        assert_eq!((&answers[3], &answers[4]), (&answers[0], &answers[2]));
        assert_eq!(entry.kept, Kept::Definition(written(1)), "and another request of the same is another wish");
    }

    #[test]
    fn only_the_newest_answers_are_kept() {
        let ids: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let wishes: Vec<_> =
            ids.iter().map(|id| (if id == "0" { Wish::Add(written(0)) } else { Wish::Update(written(1)) }, id.as_str())).collect();
        let (entry, _) = played(&wishes);
        assert_eq!(entry.answers.len(), MAX_ANSWERS);
        assert!(entry.answer_to(Some("39")).is_some() && entry.answer_to(Some("23")).is_none() && entry.answer_to(None).is_none());
    }

    #[test]
    fn what_is_no_definition_is_reported_and_can_be_replaced_or_removed() {
        for value in ["", "nonsense", "{}", "[1]", r#"{"definition": {}, "engine": 3, "by": "ann", "at": 1}"#, r#"{"definition": {}}"#] {
            let entry = Entry::read(&name(), 3, false, value.as_bytes());
            assert!(matches!(entry.kept, Kept::Unreadable(_)), "{value}: {entry:?}");
            assert!(entry.next(&name(), &Wish::Add(written(1)), None).is_err(), "{value}");
            assert!(entry.next(&name(), &Wish::Update(written(1)), None).is_ok(), "{value}");
            assert!(entry.next(&name(), &Wish::Remove, None).is_ok(), "{value}");
            assert_eq!(Entry::read(&name(), 3, true, value.as_bytes()).kept, Kept::Nothing, "removed by whoever wrote {value}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_in_the_bucket_is_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200), removed: bool) {
            let entry = Entry::read(&name(), 1, removed, &value);
            prop_assert!(!removed || entry.kept == Kept::Nothing);
        }
    }
}
