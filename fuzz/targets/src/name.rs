//! Names people give.

use keyrack_core::name::{self, MAX_DESCRIPTION, MAX_NAME, NameError};

type Reader = fn(&str) -> Result<String, NameError>;

/// Text as a name of every kind: what is taken keeps its limits, and is the same when it is read again.
pub fn name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let readers: [Reader; 5] = [name::name, name::description, name::slug, name::group, name::email];
    for read in readers {
        if let Ok(once) = read(text) {
            assert_eq!(read(&once), Ok(once.clone()));
            assert_eq!(once.trim(), once);
            assert!(!once.chars().any(char::is_control));
        }
    }
    if let Ok(name) = name::name(text) {
        assert!((1..=MAX_NAME).contains(&name.chars().count()));
        assert_eq!(name::description(text), Ok(name));
    }
    if let Ok(description) = name::description(text) {
        assert!(description.chars().count() <= MAX_DESCRIPTION);
    }
    if let Ok(slug) = name::slug(text) {
        // A slug is a group name and stands in a path as it is.
        assert_eq!(slug, text);
        assert_eq!(name::group(text), Ok(slug));
        assert_eq!(keyrack_core::path::check(format!("/{text}").as_bytes()), Ok(()));
    }
    if let Ok(email) = name::email(text) {
        assert_eq!(email.matches('@').count(), 1);
        assert!(email.len() <= 254 && !email.contains(char::is_whitespace));
        assert_eq!(email.to_lowercase(), email);
    }
}
