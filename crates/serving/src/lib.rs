//! headwater-serving
