//! Leaves of the audit tree.

use keyrack_core::leaf::leaf_hash;

/// Bytes as two lists of fields, with a `;` between the lists, `,` between fields, and `-` for a field that is not there: two
/// lists have the same leaf only if they are the same.
pub fn leaf(data: &[u8]) {
    let mut lists = data.splitn(2, |b| *b == b';').map(fields);
    let (one, other) = (lists.next().unwrap_or_default(), lists.next().unwrap_or_default());
    let hash = |fields: &[Option<&[u8]>]| leaf_hash(fields.iter().copied());
    assert_eq!(hash(&one), hash(&one.clone()));
    assert_eq!(hash(&one) == hash(&other), one == other);
    let joined = one.iter().flatten().copied().collect::<Vec<_>>().concat();
    assert!(one.len() == 1 || hash(&one) != hash(&[Some(&joined)]));
}

fn fields(list: &[u8]) -> Vec<Option<&[u8]>> {
    list.split(|b| *b == b',').map(|field| (field != b"-").then_some(field)).collect()
}
