# What the scripts share; sourced, with the repository's root as working directory.
# shellcheck shell=bash

say() {
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi
}
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Rust, new enough, and a linker; says how to get what is missing.
need_rust() {
    if ! command -v cargo >/dev/null && [[ -x ${HOME:-}/.cargo/bin/cargo ]]; then
        export PATH="$HOME/.cargo/bin:$PATH"
    fi
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail \
        "Rust is missing (version $wanted or newer). Get it with:" \
        "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" \
        "and run this script again."
    found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    if [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n1) != "$wanted" ]]; then
        fail "Rust $found is too old; $wanted or newer is needed. Update it with:" "  rustup update stable" \
            "(Rust from the distribution's packages: remove it and use https://rustup.rs instead.)"
    fi
    command -v cc >/dev/null || fail "A linker is missing. Get it with:" "  ${SUDO_HINT}apt install gcc libc6-dev"
}

# Prints a Python that can make virtualenvs, or nothing. What PYTHON names is taken, or none; else the system's comes
# first: it can be read by every user.
usable_python() {
    local candidate candidates=(/usr/bin/python3 python3)
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c \
            'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

need_python() {
    if [[ -n ${PYTHON:-} && -z $(usable_python) ]]; then
        fail "PYTHON=$PYTHON is no Python 3.8 or newer with its venv module: $("$PYTHON" --version 2>&1)" \
            "Name another one, or unset PYTHON to take the system's."
    fi
    [[ -n $(usable_python) ]] || fail "Python 3.8 or newer with its venv module is missing. Get it with:" \
        "  ${SUDO_HINT}apt install python3 python3-venv"
    command -v flock >/dev/null || fail "flock is missing. Get it with:" "  ${SUDO_HINT}apt install util-linux"
}

# Where cargo puts what it builds: target/, unless the user's settings say otherwise.
target_directory() {
    cargo metadata --format-version 1 --no-deps --locked |
        "$(usable_python)" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

if [[ $(id -u) == 0 ]]; then SUDO_HINT=""; else SUDO_HINT="sudo "; fi
