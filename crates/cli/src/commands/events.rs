//! `hull events`.

use crate::command::{Operands, command};
use crate::commands::inspect::unparsed;
use crate::complain::{Complaint, DONE, Outcome};
use crate::format::{Document, Format};
use crate::human;
use crate::json::Json;
use crate::output;
use crate::session::Session;
use crate::values::{pairs, times};
use hull_api::wire::events::Event;

command! {
    names: ["system events", "events"], about: "Show what happens, while it happens",
    usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show those that match
    #[arg(short, long, value_name = "filter", value_parser = pairs::filter)]
    filter: Vec<(String, String)>,
    /// Show by 'json' or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// What happened from this time on, too
    #[arg(long, value_name = "string", value_parser = times::point)]
    since: Option<String>,
    /// End at this time
    #[arg(long, value_name = "string", value_parser = times::point)]
    until: Option<String>,
}

async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
    let format = flags.format.as_deref().filter(|format| !format.is_empty());
    let format = format.map(Format::new).transpose().map_err(|reason| unparsed(&reason))?;
    let client = session.connect().await?;
    let filters = pairs::filters(&flags.filter);
    let call = client.get(["events"]).query_if("since", flags.since.as_deref());
    let call = call.query_if("until", flags.until.as_deref());
    let call = call.query_if("filters", (!filters.is_empty()).then(|| filters.to_json()).as_deref());
    let mut events = call.messages::<Json>().await?;
    while let Some(event) = events.next().await? {
        let text = match &format {
            Some(format) => format.render(&document(event)?).map_err(Complaint::new)?,
            None => line(&read(&event)?),
        };
        output::line(&text)?;
    }
    Ok(DONE)
}

fn read(event: &Json) -> Result<Event, Complaint> {
    serde_json::from_str(&event.compact())
        .map_err(|reason| Complaint::new(format!("read an event: {reason}")))
}

/// Docker's templates know the fields of its own type, `json` shows what came.
fn document(event: Json) -> Result<Document, Complaint> {
    let typed = read(&event)?;
    let Json::Object(mut members) = event.clone() else { return Ok(Document::new(&event)) };
    for (name, value) in [
        ("ID", Json::from(typed.id.as_str())),
        ("Status", typed.status.as_str().into()),
        ("From", typed.from.as_str().into()),
        ("Scope", typed.scope.as_str().into()),
        ("Time", Json::Int(typed.time)),
        ("TimeNano", Json::Int(typed.time_nano)),
    ] {
        members.push((name.to_owned(), value));
    }
    Ok(Document::shown_as(&Json::Object(members), event.compact()))
}

/// "2015-12-23T21:38:24.705709133+01:00 network connect 2f1… (name=bridge, type=bridge)".
fn line(event: &Event) -> String {
    let time = match event.time_nano {
        0 => human::local_rfc3339(event.time),
        nanos => human::local_nanos(nanos),
    };
    let mut text = format!("{time} {} {} {}", event.kind, event.action, event.actor.id);
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !attributes.is_empty() {
        text.push_str(&format!(" ({})", attributes.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let text = r#"{"Type":"container","Action":"die","Actor":{"ID":"8d","Attributes":{"name":"web","exitCode":"0"}},"time":0,"timeNano":1}"#;
        let event: Json = serde_json::from_str(text).unwrap();
        let line = line(&read(&event).unwrap());
        assert!(line.ends_with(" container die 8d (exitCode=0, name=web)"), "{line}");
        let format = Format::new("{{.Type}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.TimeNano}}").unwrap();
        assert_eq!(format.render(&document(event).unwrap()).unwrap(), "container 8d web 1");
    }
}
