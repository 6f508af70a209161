//! Frames between a worker (or the master) and an app process, over a Unix stream socket.
//!
//! ```text
//!  u32 length | u8 type | u8 flags | u16 zero | u32 stream        little endian; length counts the payload only
//! ```
//!
//! Between worker and app each stream socket belongs to one unit (thread): the worker's first frame is HELLO, which
//! names the unit; from then on one request at a time, `stream` counts them. Descriptors (FILE, a spooled body) travel
//! by SCM_RIGHTS with the first byte of their frame's header.
//!
//! | type | direction | payload |
//! |---|---|---|
//! | HELLO 1 | worker → app | u32 protocol version, u16 row of the worker, u16 unit |
//! | HELLO 1 | app → master | JSON: protocol version, Python version, pid |
//! | READY 2 | app → master | empty |
//! | FAILED 3 | app → master | UTF-8 text: what failed, with the traceback |
//! | REQUEST 4 | worker → app | NUL-separated `name\0value\0…` pairs in latin-1; flag END: no body; flag FD: the body is the descriptor that comes along (read from offset 0, CONTENT_LENGTH bytes) |
//! | BODY 5 | both | bytes |
//! | END 6 | both | worker: end of the request body; app: end of the response; flag ABORT: the response broke off |
//! | CANCEL 7 | worker → app | the client has gone; the app may go on |
//! | CREDIT 8 | worker → app | reserved for ASGI |
//! | HEAD 9 | app → worker | status line text `200 OK`, then NUL-separated pairs as in REQUEST, all latin-1: `200 OK\0name\0value\0…`; flag LENGTH: the body's length is its Content-Length |
//! | FILE 10 | app → worker | u64 offset, u64 length; the descriptor comes along |
//! | FREE 11 | app → worker | the iterable is closed, the unit takes the next request |
//! | FREE 11 | app → master | u16 row, u16 unit: the stream of that worker ended and its request is over |
//! | STACKS 12 | reserved | |
//! | LEAVE 13 | master → app | no request is claimed any more: run atexit and exit 0 |
