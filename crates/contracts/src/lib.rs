//! headwater-contracts
