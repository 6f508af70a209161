//! Source and secrets below a static root.
