//! Thin D-Bus objects.
