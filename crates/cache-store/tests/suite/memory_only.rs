//! What only memory can show: its bound, and time that stands still.
