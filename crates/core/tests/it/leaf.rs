//! The leaves of the audit tree.

use keyrack_core::leaf::leaf_hash;
use proptest::prelude::*;

type Fields = Vec<Option<Vec<u8>>>;

fn leaf(fields: &[Option<Vec<u8>>]) -> [u8; 32] {
    leaf_hash(fields.iter().map(Option::as_deref))
}

#[test]
fn known_events_have_known_leaves() {
    let table: [(&[Option<&[u8]>], &str); 3] = [
        (&[], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (&[None], "9def0fa72f2e47121f76669bb34e840056e33b7cb205287c2e7b765bf6ff0a07"),
        (
            &[Some(b"a"), None, Some(b""), Some(b"bc")],
            "b68760409c8a2d436640bc80e933a8affda7a49fb50f2a2af5fbfb75f83c49a8",
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(data_encoding::HEXLOWER.encode(&leaf_hash(fields.iter().copied())), expected);
    }
}

#[test]
fn events_that_read_alike_when_joined_have_different_leaves() {
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    let alike: [&[Option<Vec<u8>>]; 8] = [
        &[some(b"ab"), some(b"c")],
        &[some(b"a"), some(b"bc")],
        &[some(b"abc"), some(b"")],
        &[some(b"abc"), None],
        &[some(b"abc")],
        &[None, some(b"abc")],
        &[some(b""), some(b"abc")],
        &[some(b"\0\0\0\0\0\0\0\x03abc")],
    ];
    for (i, one) in alike.iter().enumerate() {
        for (j, other) in alike.iter().enumerate() {
            assert_eq!(leaf(one) == leaf(other), i == j, "{one:?} {other:?}");
        }
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    // Few different bytes, zero among them: lengths and contents are easily mistaken for each other.
    prop::collection::vec(prop::option::of(prop::collection::vec(0..3_u8, 0..4)), 0..4)
}

proptest! {
    #[test]
    fn different_fields_never_share_a_leaf(one in fields(), other in fields()) {
        prop_assert_eq!(leaf(&one) == leaf(&other), one == other);
    }
}
