//! The data plane: one request from head to response. With `net`, the only async code on a request's path.
