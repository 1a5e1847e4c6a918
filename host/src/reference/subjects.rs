//! `subjects.md`: who speaks to whom, and where.

use pilothouse_core::command::ApiError;

use super::head;
use super::markdown::cell;
use super::traffic::{self, Channel, GROUPS, PARAMETERS, Traffic};
use crate::api::{Audience, ERROR_HEADER, NOBODY, error_code};

/// The page.
pub(super) fn page(traffic: &Traffic) -> String {
    let mut text = head("Subjects");
    text += "Every NATS subject that agents, provisioners and users meet. Messages are JSON; [messages.md](messages.md) tells them field by \
             field. What hosts say among themselves is not told here and changes without notice.\n\n\
             | in a subject | stands for |\n|---|---|\n";
    PARAMETERS.iter().for_each(|it| text += &format!("| `{{{}}}` | {} |\n", it.name, cell(it.about)));
    for (group, about) in GROUPS {
        text += &format!("\n## {group}\n\n{about}\n\n");
        let channels: Vec<&Channel> = traffic.channels.iter().filter(|channel| channel.group == *group).collect();
        if channels.iter().all(|channel| channel.operation.is_some()) {
            text += &operations(&channels);
        } else {
            text += "| subject | from → to | message | answer | for |\n|---|---|---|---|---|\n";
            for channel in channels {
                let answer = channel.answer.as_ref().map(|answer| link(&answer.name)).unwrap_or_default();
                text += &format!(
                    "| `{}` | {} → {} | {} | {answer} | {} |\n",
                    channel.address,
                    channel.from.name(),
                    channel.to.name(),
                    link(&channel.message.name),
                    cell(&channel.about)
                );
            }
        }
    }
    text + &errors()
}

fn link(name: &str) -> String {
    format!("[{name}](messages.md#{})", super::messages::anchor(name))
}

fn operations(channels: &[&Channel]) -> String {
    let mut text = format!(
        "The user is a token of the subject: the permissions of the server decide who may speak for whom. `{NOBODY}` stands for the default \
         user of the hosts, if they have one.\n\n\
         Requests that change something carry a `request_id`, a text of the caller's choice: sent again with the same id, a request is \
         carried out once and answered the same. Some answer `unavailable` for a moment, while the domains change hands: ask again, with the \
         same id.\n\n\
         Discovery (`nats micro info pilothouse`) shows each operation as an endpoint, named with `-` in place of `.`, with the schema of its \
         request.\n\n\
         | subject | for | audience | served by | changes something | request | answer |\n|---|---|---|---|---|---|---|\n"
    );
    for channel in channels {
        let Some(operation) = channel.operation else { continue };
        let audience = match operation.audience() {
            Audience::Users => "users",
            Audience::Operators => "operators",
        };
        text += &format!(
            "| `{}` | {} | {audience} | {} | {} | {} | {} |\n",
            channel.address,
            cell(&channel.about),
            traffic::served_by(operation),
            if operation.changes() { "yes" } else { "" },
            link(&channel.message.name),
            channel.answer.as_ref().map(|answer| link(&answer.name)).unwrap_or_default()
        );
    }
    text
}

/// One error of each kind.
fn errors() -> String {
    let what = String::new;
    let all = [
        (ApiError::Invalid { problems: Vec::new() }, "The request makes no sense. Every problem is named, with the key it is about."),
        (ApiError::NotPermitted { message: what() }, "Not for this caller."),
        (ApiError::NotFound { what: what() }, "There is none, or it is somebody else's."),
        (ApiError::Conflict { message: what() }, "It is there already, or in the way."),
        (ApiError::Unavailable { message: what() }, "Not now: ask again."),
    ];
    let mut text = format!(
        "\n## Errors\n\nAn answer with the headers `{}` and `{}` is an error. What users ask is answered with a third one, `{ERROR_HEADER}`: the \
         error as JSON, for programs ([ApiError](messages.md#apierror)).\n\n\
         | code | kind | meaning |\n|---|---|---|\n",
        async_nats::service::NATS_SERVICE_ERROR,
        async_nats::service::NATS_SERVICE_ERROR_CODE,
    );
    all.iter().for_each(|(error, about)| text += &format!("| {} | `{}` | {about} |\n", error_code(error), error.kind()));
    text
}
