"""Compression while a response leaves: gzip and brotli against nginx at the same level."""
import os
import random

from .. import client, measure, report
from ..processes import CLIENT_CORES
from ..servers import NotStarted, Server

ABOUT = "A proxied page of 100 KiB that is compressed on its way, on loopback: one worker on one core, wrk and the upstream on the other."
PROGRAMS = ["wrk", "nginx", "nginx-brotli"]
# Encoding as we and as nginx call it, its name on the wire, level.
TABLE = {
    "gzip-1": ("Gzip", "gzip", "gzip", 1), "gzip-6": ("Gzip", "gzip", "gzip", 6),
    "brotli-4": ("Brotli", "brotli", "br", 4), "brotli-6": ("Brotli", "brotli", "br", 6),
    "zstd-3": ("Zstd", None, "zstd", 3),
}
PARTS = list(TABLE)
MODULES = "/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so"
SIZE = 100 << 10


def page(place):
    """Text as pages have it: tags, words as often as words are, numbers; the same in every run."""
    path = place.run / "page.txt"
    if path.exists():
        return path
    draw = random.Random(17)
    words = ["".join(draw.choice("etaoinshrdlucmfwypvbgkqjxz"[:draw.randint(6, 26)]) for _ in range(draw.randint(2, 10))) for _ in range(3000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    parts, length = [], 0
    while length < SIZE:
        text = " ".join(draw.choices(words, weights, k=draw.randint(5, 40)))
        part = '<li class="item" id="i{}"><a href="/{}/{}">{}</a> <b>{:.2f}</b></li>\n'.format(
            draw.randint(1, 99999), draw.choice(words), draw.randint(1, 9999), text, draw.random() * 1000)
        parts.append(part)
        length += len(part)
    path.write_bytes("".join(parts).encode()[:SIZE])
    return path


def start(bench, names, upstream, part):
    encoding, module, _, level = TABLE[part]
    started = []
    for name in names:
        if name == "nginx" and (module is None or module == "brotli" and not os.path.exists(MODULES)):
            bench.left_out("nginx for " + encoding, "it has no module for that here")
            continue
        server = Server(bench.place, name)
        loads = "load_module {};".format(MODULES) if module == "brotli" else ""
        try:
            server.start("compress", UPSTREAM=upstream.port, ENCODING=encoding, LEVEL=level, MODULE=module or "", LOAD_MODULE=loads).ready("/")
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def run(bench):
    file, sections = page(bench.place), []
    upstream = Server(bench.place, "limit", "upstream")
    upstream.cores = CLIENT_CORES
    upstream.start_limit("memory", file).listening()
    for part in bench.parts(PARTS):
        encoding, _, token, level = TABLE[part]
        title = "{}, level {}".format(encoding.lower(), level)
        servers = start(bench, bench.chosen(bench.ours() + ["nginx"]), upstream, part)
        fields, sizes = [("Accept-Encoding", token)], {}
        for server in servers:
            answer = client.get(server.port, "/", fields=fields)
            if answer.fields.get("content-encoding") != token:
                raise SystemExit("{} answers without {}: {}".format(server.label, token, answer.fields))
            sizes[server.label] = len(answer.body)
        rows = measure.rounds(title, servers, "/", bench.rounds, bench.seconds, lambda server: fields)
        for server in servers:
            server.stop()
        text = "Of {:,} bytes are left: {}.".format(SIZE, ", ".join("{} {:,}".format(*one) for one in sizes.items()))
        sections.append(report.rated(title, text, rows, goals(title, rows, sizes)))
    upstream.stop()
    return sections, [
        "The same level is not the same effort: compare the sizes too. Debian's nginx has zlib and Google's brotli; Zstandard it has not.",
    ]


def goals(title, rows, sizes):
    own, peer = report.by_name(rows, "hatchery"), report.by_name(rows, "nginx")
    if not own or not peer:
        return []
    return [report.goal(title + ": throughput × nginx", peer.cpu / own.cpu, 1.0, more=True),
            report.goal(title + ": size × nginx", sizes[own.label] / sizes[peer.label], 1.02)]
