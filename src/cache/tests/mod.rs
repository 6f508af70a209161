//! The cases of RFC 9111, RFC 5861 and RFC 9211.
