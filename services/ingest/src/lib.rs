//! headwater-ingest
