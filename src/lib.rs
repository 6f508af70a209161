//! Hatchery: one process tree that serves static files, proxies, hosts Python web applications, supervises
//! processes and runs cron jobs.
//!
//! # The map
//!
//! ```text
//!  L5  main.rs   cli/
//!  L4  master/ ---- never import each other ---- worker/ ---- helper/ ---- scripts/
//!  L3  event/ (the only user of mio)          config/
//!  L2  cores, pure:  supervisor/ cron/ dispatch/ renewal/ h1/ h2/ proxied/ gateway/ route/ policy/ filter/ cache/ balance/ accesslog/
//!  L1  vocabulary, pure data:  http/  control/
//!  L0  buf/  slab/  secret.rs  timer/ (pure)   sys/ (syscalls; imported by L3 to L5)
//! ```
//!
//! Arrows go down only. L2 cores do not import each other, except `gateway → h1`, `h2 → h1` and `filter → policy`. Cores decide and never do I/O;
//! shells (`worker/`, `master/`, `event/`) do I/O and never decide; `sys` is the only place with `unsafe`.
//! `tests/it/layers.rs` enforces this.
//!
//! # Five verbs
//!
//! Every core speaks the same verbs: `feed`/`on` (something happened), `poll` (drain the outputs until `None`),
//! `wants` (derived interest), `deadline` (derived: the earliest of its timers), `on_timeout` (the clock reached
//! it; a spurious call is harmless).
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | master | the first process: binds sockets, owns every child, never touches a client byte |
//! | worker | forked event loop that owns client connections |
//! | helper | exec'd process for what needs threads, a resolver or an async client: one or none to order certificates, one or none, the *resolver*, to look names up |
//! | app process | an exec'd Python interpreter running the embedded host program |
//! | host | what serves an app in its processes, and what it is told: a kind of app, described in `config::host` |
//! | script | a CGI program that a host of ours starts for one request (`scripts`) |
//! | command | the other kind: a server of its own, which knows nothing of us; its processes are as servers of an upstream |
//! | probe | a process that finds out whether one of a command serves |
//! | room | a directory in which such a process makes its socket |
//! | child | a process that the master has started or adopted, of whatever role, until it is reaped: a row of its one table |
//! | unit | what can run one request of an app at a time: one thread of one app process, or one task of its event loop |
//! | shared | of a stream: it carries the requests of a worker to all units of one process, those of an event loop |
//! | pool | processes of one kind kept alive together: the workers, one app |
//! | slot | the place of one process in its pool; it is refilled when its process dies |
//! | generation | one reading of the configuration and the processes started from it |
//! | incarnation | which of the processes that one slot of an app has had, by number |
//! | connection | one accepted client socket |
//! | front | a server, such as nginx, that passes requests of its clients on by the uwsgi protocol |
//! | exchange | one request and its response |
//! | owner | the address of an exchange: its client, and its number on that connection |
//! | reply | the door through which the response of an exchange leaves |
//! | filter | what a response passes on its way out, that sees or changes it: the opposite of a policy's rule |
//! | drive | one call of a connection or an exchange: it does what can be done now |
//! | credentials | what TLS and logins need at one moment: certificates with their keys, who signs those of clients, keys of tickets, open challenges, users with hashes of their passwords, lists in files |
//! | keyring | what holds them: of the master, which reads, makes and hands them over; of a worker, which answers by them |
//! | transport | the stream of a client, as its connection sees it |
//! | kept | of a response: it is in the cache, for those who ask for the same |
//! | claim | the right to fetch, for the cache, what others wait for |
//! | tap | the first filter of a response: it takes the copy that is kept |
//! | walk | of a section of the configuration: it names each key with its value, for what reads, writes or lists them |
//! | task | a program that the master starts, and how: what a daemon and a cron job have in common |
//! | condition | what a location or policy may depend on of a request, by its name |
//! | guard | what a location asks of a request besides its path |
//! | rewrite | of a request: to route it again, by another path of its site |
//! | policy | what a request must get past before the handler of its location has it |
//! | rule | the code of one policy; the chain asks them in order, and again those that have waited |
//! | list | networks under a name, in the configuration or in a file |
//! | login | a user and a password that a client has sent; once they are known to be right: who it is |
//! | limit | of a place: so many requests in a time, or at a time; a class is one that places have by its name |
//! | table | of limits: the words in shared memory by which they hold over all workers |
//! | bucket | of a rate: the tokens that there are for who is counted together, kept as the time at which it is full again |
//! | handler | what produces the response: files, fixed answers, a gateway |
//! | fallback | what answers in the place of a handler that has nothing |
//! | gateway | the client side of a protocol to an upstream or an app |
//! | upstream | a group of servers requests are balanced over |
//! | entry | of an upstream: what stands in its `servers`; an address is one server, a name may lead to several |
//! | spot | where a server is, as the roster says if its name was looked up |
//! | lease | the right to use one channel of an upstream or app until it is released |
//! | turn | one round of the loop of a worker or of the master |
//! | drain | finish what runs, take nothing new, leave |
//!
//! Of processes (`supervisor`, `master`):
//!
//! | word | meaning |
//! |---|---|
//! | plan | what should run, made from one configuration |
//! | upkeep | of a pool: what its processes may take, in time and memory, before they are ended or replaced |
//! | switch | the moment at which the generation that a reload has booted takes the place of the one before |
//! | proof | a process, or its boot, that only shows that an app boots |
//! | worn | to be replaced although it serves: it had its requests, its time or too much memory |
//! | relief | the process that boots beside a worn one and takes its place |
//! | edit | a change of code that is watched (`reload_on_change`); it rolls its app |
//! | trouble | what code that is watched has said instead of starting |
//! | roll | to replace the processes of a pool one after the other, each by a relief |
//! | dismissed | of a daemon's process: it is to leave, and its place is filled from the new configuration |
//! | given up, abandoned | of a process that KILL has not ended: nothing waits for it any more |
//! | gate | a command that must succeed before an app boots (`before`) |
//! | template | the process that imports an app once, so that the app's processes are forked from it |
//! | born | of a process that a template has forked: a child of the master from then on |
//! | trial | the process in which a new program shows before an upgrade that it works |
//! | ready request | what an app process must answer before it serves; on its way: an inquiry |
//! | carried | of a descriptor: it goes along when the master becomes another program (`sys::carried`) |
//! | voice, ear | of a child's channel: what it tells the master, and where it hears the master |
//! | journal | the lines that children printed last |
//! | heir | what a child has started and left, as far as it prints to where the child did |
//!
//! Of certificates (`renewal`, `master::acme`, `helper`):
//!
//! | word | meaning |
//! |---|---|
//! | authority | who gives certificates; it is found by its directory |
//! | challenge | a question of an authority, by which it sees that a name is ours |
//! | to place | of challenges: to have all workers answer them |
//! | errand | what the helper is asked to do about one certificate: an order, or a look when to renew it |
//! | window | when an authority wants a certificate to be renewed |
//! | standing | how it is with a certificate, for the operator |
//!
//! Of the board (`dispatch`) and what is said about it (`control`):
//!
//! | word | meaning |
//! |---|---|
//! | board | the words in shared memory that workers and master read, each written by one of them or exchanged |
//! | row | the place of one worker on the board |
//! | head | when the oldest request arrived that waits in a worker for a pool |
//! | offer | to leave a freed unit to the worker with the oldest head |
//! | poke | to wake the worker of a row, by its eventfd |
//! | orphan | a claimed unit whose worker has gone or gave it up, while the request may still run |
//! | sweep | the master's look for units that nobody would give back |
//! | beat | the word in which a worker says which turn it runs; the heartbeat finds those that hang |
//! | complaint | what a worker says against an app process; in `config`: what is wrong with a value |
//! | frame | one message between a worker, or the master, and an app process |
//! | ahead | of a request: sent to a unit that still runs another; called back: taken out of there before it began |
//! | pace | of a pool: how long its requests took lately |
//!
//! Of upstreams (`balance`):
//!
//! | word | meaning |
//! |---|---|
//! | server | one of those that an upstream consists of; hatchery itself is "the server" where no upstream is near |
//! | roster | the words in shared memory about the servers of upstreams: what is in flight, who waits, health, orders |
//! | place | the right of a request to be at a server until it has left; elsewhere: see below |
//! | rank | the servers that are asked before others: those that are up, then backups, then whoever is there |
//! | rest, trial | of a server that was given up: it takes nothing; one request shows if it is back |
//! | check | a request of our own by which a server shows that it is well |
//!
//! Of the response cache (`cache`):
//!
//! | word | meaning |
//! |---|---|
//! | key | the name of a response that is kept: what of a request it depends on, as text; and its hash |
//! | marker | what is kept under the key of a URL whose responses depend on more: the names of these fields |
//! | variant | of several responses to one URL, the one that a request selects by them |
//! | to admit | of a response: to find that it may be kept |
//! | life | of a response that is kept: how old it is, how long it is good, and for what |
//! | stale, fresh | of a response: its time is over, or not |
//! | to freshen | to find by a 304 that what is kept is still right |
//!
//! Of its store (`cache::store`):
//!
//! | word | meaning |
//! |---|---|
//! | index, entry, set | the words that say what is kept and where; of an object one, among eight that its hash leads to |
//! | object | what is kept under a key, as bytes with the key and a checksum |
//! | arena, chunk, turn | the memory of objects; a piece of it that one worker fills; the number under which it does |
//! | claim, bid | the right to fetch something for all who want it; the wish to have it, before others were looked for |
//! | declined | of a key: what is fetched under it is not kept, so nobody waits for it |
//! | ban | a purge, as objects are compared with it |
//! | epoch | the word by which a fetch learns that what it fetches was invalidated meanwhile |
//! | front | of a file: what stands in it before the body |
//! | life | of the server: from a start to the next one, upgrades included |
//!
//! Of connections and files (`worker`, `sys`):
//!
//! | word | meaning |
//! |---|---|
//! | link | a stream socket from a worker to an app process or an upstream server |
//! | tunnel | what a client and an upstream make of their connections by a 101, or of a stream of HTTP/2 by the 200 to a CONNECT: bytes both ways, unread |
//! | party | one for whom exchanges run: a client, or the server itself |
//! | own | of a request: asked by the server itself, on account of another or of nobody |
//! | run | one request at an app or upstream, from its lease to its release; of a cron job: one start of its command |
//! | shortage | a lack of descriptors or memory, against which expendable connections are closed |
//! | spool | a body that is kept, in memory or in a file without a name, until the slower side takes it |
//! | store | what a worker has of memory and files for bodies that wait for who is slow |
//! | segment | a piece of what is to be sent: bytes, or a part of a file |
//! | near, far | of a file: on a file system of this machine, or on one that may take its time or never answer |
//! | place | a name in a directory that was opened once (`sys::place`) |
//! | hold | who can change the names in a directory |
//! | stranger | somebody who can change what only we should |
//! | root | a directory from which files are served |
//! | shared head | the head of a response that is sent many times: encoded once, and once more for each place that changes it |
//! | closed | of a site: for maintenance, by command |
//! | draft | a part of the configuration in which names are not looked up yet |
//!
//! Reading order: `timer`, `buf`, `http`, `h1::conn`, `worker::exchange`, `supervisor`, `master`.

pub mod buf;
pub(crate) mod secret;
pub(crate) mod slab;
#[allow(unsafe_code)]
pub mod sys;
pub mod timer;

pub mod control;
pub mod http;

pub(crate) mod accesslog;
pub mod balance;
pub mod cache;
pub(crate) mod cron;
pub mod dispatch;
pub(crate) mod filter;
pub mod gateway;
pub mod h1;
pub mod h2;
pub mod policy;
pub mod proxied;
pub(crate) mod renewal;
pub(crate) mod route;
pub mod supervisor;

pub mod config;
pub(crate) mod event;

pub(crate) mod helper;
pub mod master;
pub(crate) mod scripts;
pub mod worker;

pub mod cli;

#[doc(hidden)]
pub mod fuzzing;
