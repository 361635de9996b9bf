//! headwater-stats
