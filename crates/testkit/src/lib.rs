//! What the tests share: private databases, a running keyrack, plain HTTP.
