//! Finding containers by id, name and prefix.

use super::*;
use crate::error::Kind;
use crate::model::fixture;

fn set(containers: &[(&str, &str)]) -> Containers {
    let set = Containers::default();
    for (id, name) in containers {
        let mut container = fixture();
        (container.id, container.name) = ((*id).into(), (*name).into());
        set.add(&Entry::new(container));
    }
    set
}

#[test]
fn ids_come_before_names_and_names_before_prefixes() {
    let set = set(&[("abc1", "web"), ("abd2", "abc"), ("ff", "abc1")]);
    assert_eq!(set.find("abc1").unwrap().id, "abc1");
    assert_eq!(set.find("abc").unwrap().id, "abd2");
    assert_eq!(set.find("/web").unwrap().id, "abc1");
    assert_eq!(set.find("f").unwrap().id, "ff");
}

#[test]
fn what_is_not_found_is_said_in_dockers_words() {
    let set = set(&[("abc1", "web"), ("abd2", "db")]);
    let error = set.find("ab").err().unwrap();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::Invalid, "multiple IDs found with provided prefix: ab")
    );
    assert_eq!(set.find("nope").err().unwrap().message, "No such container: nope");
    assert_eq!(set.find("").err().unwrap().message, "invalid name or ID supplied: \"\"");
}

#[test]
fn a_reserved_name_is_given_back_unless_kept() {
    let set = set(&[]);
    drop(set.reserve("web", "1").unwrap());
    set.reserve("web", "2").unwrap().keep();
    let error = set.reserve("web", "3").err().unwrap();
    assert_eq!(error.kind, Kind::Conflict);
    assert!(
        error
            .message
            .starts_with("Conflict. The container name \"/web\" is already in use by container \"2\".")
    );
}

#[tokio::test]
async fn an_exit_is_told_that_comes_before_anybody_waits() {
    let entry = Entry::new(fixture());
    let mut next = entry.next_exit();
    entry.progress.send_modify(|progress| progress.exits += 1);
    tokio::time::timeout(Duration::from_secs(5), next.reached()).await.unwrap();
    let mut later = entry.next_exit();
    let none = tokio::time::timeout(Duration::from_millis(50), later.reached()).await;
    assert!(none.is_err(), "an exit of before is none that comes");
}
