"""The side-by-side comparison behind ./scripts/bench. Python 3.8 or newer, standard library only.

install    what is missing, and Hatchery itself          machine    what the numbers were measured on
processes  start, count, weigh and end process trees     servers    one class for a server, from benches/peers/
load       wrk, and what it says                         client     a few requests by hand, and many idle connections
measure    rounds in alternation, medians                callgrind  instructions per request
report     tables, goals, pages                          chart      bars as SVG
arrivals   requests that come by themselves, and the ideal queue; trickle  slow clients
cases/     what is measured: static, proxy, wsgi, load, reload, memory, wake
"""
