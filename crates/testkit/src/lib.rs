//! headwater-testkit
