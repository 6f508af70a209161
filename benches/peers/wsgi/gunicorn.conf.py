# Behind nginx, as its manual says; access log off is the default.
bind = "unix:@RUN@/app.sock"
workers = @PROCESSES@
worker_class = "@GUNICORN@"
threads = @GUNICORN_THREADS@
keepalive = 600
worker_connections = 1000
backlog = 4096
chdir = "@CHDIR@"
user = "@USER@"  # @AS_ROOT@
group = "@GROUP@"  # @AS_ROOT@
loglevel = "error"
