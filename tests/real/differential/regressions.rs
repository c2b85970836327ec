//! Histories that once came out differently, the shortest of each kind.
