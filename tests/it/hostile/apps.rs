//! An app that lies about itself.
