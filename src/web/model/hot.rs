//! A row that changes all the time.
