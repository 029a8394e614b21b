//! Bodies of requests.

use keyrack_client::wire::{
    AcceptInvitation, AddMember, CreateGroup, CreateKey, CreateOrganization, CreateRoute, CreateWorkspace, ImportKey,
    ImportKeys, RevokeKey, RotateKey, SignIn, UpdateGroup, UpdateKey, UpdateMember, UpdateOrganization, UpdateRoute,
    UpdateSettings, UpdateWorkspace, VerifyKey, VerifyKeys,
};
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
    check::<UpdateGroup>(data);
    check::<UpdateRoute>(data);
    check::<VerifyKeys>(data);
    check::<ImportKey>(data);
    check::<RotateKey>(data);
    check::<RevokeKey>(data);
    check::<CreateOrganization>(data);
    check::<UpdateOrganization>(data);
    check::<CreateWorkspace>(data);
    check::<UpdateWorkspace>(data);
    check::<AddMember>(data);
    check::<UpdateMember>(data);
    check::<AcceptInvitation>(data);
    check::<SignIn>(data);
    check::<UpdateSettings>(data);
}

fn check<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_value(&read).unwrap_or_default();
    let again: T = serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(serde_json::to_value(&again).unwrap_or_default(), written);
    let Ok(sent @ Value::Object(_)) = serde_json::from_slice::<Value>(data) else { return };
    for name in written.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(sent.get(name).is_some() || written[name].is_null(), "{name} was not sent: {written}");
    }
    for changed in with_one_field_more(&sent) {
        assert!(serde_json::from_value::<T>(changed.clone()).is_err(), "an unknown field was taken: {changed}");
    }
}

/// The value with an unknown field, once in each of its objects, but for those that may hold anything.
fn with_one_field_more(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("nobody_knows_this".to_owned(), Value::Null);
            let inside = members.iter().filter(|(name, _)| *name != "metadata").flat_map(|(name, member)| {
                let put = move |changed| {
                    let mut members = members.clone();
                    members.insert(name.clone(), changed);
                    Value::Object(members)
                };
                with_one_field_more(member).into_iter().map(put)
            });
            std::iter::once(Value::Object(more)).chain(inside).collect()
        }
        Value::Array(list) => {
            let each = list.iter().enumerate().flat_map(|(at, member)| {
                let put = move |changed| {
                    let mut list = list.clone();
                    list[at] = changed;
                    Value::Array(list)
                };
                with_one_field_more(member).into_iter().map(put)
            });
            each.collect()
        }
        _ => Vec::new(),
    }
}
