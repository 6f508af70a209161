//! HTTP/2, as the tools of others speak it and as nobody should.

mod floods;
mod malformed;
mod reload;
mod serving;
mod streams;
mod table;
