//! headwater-generator
