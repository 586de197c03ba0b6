//! The homeserver client over real HTTP: what each call puts on the wire, and what it makes of each kind of answer.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "homeserver_client/answers.rs"]
mod answers;
#[path = "homeserver_client/fake.rs"]
mod fake;
#[path = "homeserver_client/requests.rs"]
mod requests;
