//! headwater-processor
