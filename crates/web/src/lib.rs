//! HTTP API, live events and the console's assets.
