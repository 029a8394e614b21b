//! Bodies of requests.

use keyrack_client::wire::{CreateGroup, CreateKey, CreateRoute, ImportKeys, UpdateKey, VerifyKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// JSON as each kind of body. What is read is written as it was sent, but for what says nothing (a null where nothing can be
/// cleared is no such thing: it is refused); a field that nobody knows is never taken.
pub fn body(data: &[u8]) {
    check::<CreateKey>(data);
    check::<UpdateKey>(data);
    check::<ImportKeys>(data);
    check::<VerifyKey>(data);
    check::<CreateRoute>(data);
    check::<CreateGroup>(data);
}

fn check<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_value(&read).unwrap_or_default();
    let again: T = serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(serde_json::to_value(&again).unwrap_or_default(), written);
    let Ok(Value::Object(mut sent)) = serde_json::from_slice::<Value>(data) else { return };
    for name in written.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(sent.contains_key(name) || written[name].is_null(), "{name} was not sent: {written}");
    }
    sent.insert("nobody_knows_this".to_owned(), Value::Null);
    assert!(serde_json::from_value::<T>(Value::Object(sent)).is_err(), "an unknown field was taken");
}
