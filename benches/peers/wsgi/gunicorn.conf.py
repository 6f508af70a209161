# Behind nginx, as its manual says; access log off is the default.
bind = "unix:@RUN@/app.sock"
workers = 1
worker_class = "gthread"
threads = 4
keepalive = 600
worker_connections = 1000
backlog = 4096
chdir = "@CHDIR@"
user = "@USER@"  # @AS_ROOT@
group = "@GROUP@"  # @AS_ROOT@
loglevel = "error"
