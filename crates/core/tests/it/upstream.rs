//! Addresses of services behind doors.

use keyrack_core::upstream::{UpstreamError, check};

#[test]
fn what_every_parser_reads_alike_is_taken() {
    for url in ["http://10.0.0.7", "https://api.example.com:8443/v1/a-b_c~d", "http://[::1]:9/x,y"] {
        assert_eq!(check(url), Ok(()), "{url}");
    }
}

#[test]
fn a_path_that_no_request_can_bear_is_refused() {
    // The first was found by the fuzzer: taken here, and refused by what sends requests.
    for path in ["/a`p.", "/a\"b", "/<a>", "/a{b}", "/a|b", "/a^b", "/a?b", "/a#b", "/a//b", "/a/../b"] {
        assert_eq!(check(&format!("http://10.0.0.7{path}")), Err(UpstreamError::Path), "{path}");
    }
}
