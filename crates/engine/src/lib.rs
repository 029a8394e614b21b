//! The product without HTTP: one function per use case, one transaction each.
