# Sourced by ./assay and ./test: `launch EXTRA` leaves a working environment in $root/.venv.
#
# The environment is made once and again only when pyproject.toml changes or the folder moves; the usual
# call costs two small processes. All the work is in scripts/environment.py, which needs only Python's
# standard library. Set ASSAY_PYTHON to choose the Python it is made with.

find_python() {
    # Print the first Python that is new enough; one that can make environments by itself goes first.
    if [ -n "${ASSAY_PYTHON:-}" ]; then
        set -- "$ASSAY_PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11 python3.14 python
    fi
    for wish in "version_info >= (3, 11) and __import__('ensurepip')" "version_info >= (3, 11)"; do
        for name in "$@"; do
            if "$name" -c "import sys; sys.exit(not (sys.$wish))" >/dev/null 2>&1; then
                printf '%s\n' "$name"
                return 0
            fi
        done
    done
    echo "assay: no Python 3.11 or newer found (tried $*)." >&2
    echo "Install one, or set ASSAY_PYTHON to its path." >&2
    return 2
}

launch() {
    stamp=$root/.venv/assay-$1
    if [ -x "$root/.venv/bin/python" ] && cmp -s "$root/pyproject.toml" "$stamp.toml" &&
        [ "$(cat "$stamp.path" 2>/dev/null)" = "$root" ]; then
        return 0
    fi
    found=$(find_python) || return $?
    "$found" "$root/scripts/environment.py" "$1" </dev/null
}
