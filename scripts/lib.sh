# shellcheck shell=bash
# What every script here needs: a Python that is new enough, and .venv with this package in it.
# Sourced, never run. TURNOUT_PYTHON names another interpreter.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "turnout: $*"
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

can_make_venv() {
  "$1" -c 'import ensurepip' 2>/dev/null || { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
}

# The distribution's own Python comes first: it is built with optimisations, which a gateway feels.
find_python() {
  local candidate
  for candidate in ${TURNOUT_PYTHON:+"$TURNOUT_PYTHON"} /usr/bin/python3 python3 \
    python3.14 python3.13 python3.12 python3.11; do
    if is_new_enough "$candidate" && can_make_venv "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed, and $(python3 --version 2>/dev/null || echo 'no python3') was found." \
    "Install one (Debian 12 and later: apt-get install python3 python3-venv), or name one:" \
    "TURNOUT_PYTHON=/path/to/python3 $0"
}

# Tries again what a network that fails for a moment has failed.
persist() {
  local pause_s
  for pause_s in 2 8 0; do
    "$@" && return
    [ "$pause_s" = 0 ] || { say "That failed; once more in $pause_s s ..." && sleep "$pause_s"; }
  done
  return 1
}

# Installs Debian packages when this is Debian and we are root; false when that is not so.
install_debian() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "Installing $* ..."
  local log
  log=$(mktemp)
  if ! persist apt_install "$@" >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# Another apt-get that is at work is waited for.
apt_install() {
  apt-get update &&
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}

# The same for packages whose service would start with the installation.
install_debian_without_its_service() {
  local policy=/usr/sbin/policy-rc.d package
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" # "start no service"
    chmod +x "$policy"
    # shellcheck disable=SC2064 # the path is known now
    trap "rm -f '$policy'" EXIT
  fi
  install_debian "$@" || return 1
  if command -v systemctl >/dev/null; then
    for package in "$@"; do
      systemctl disable --quiet "$package" 2>/dev/null || true
    done
  fi
  rm -f "$policy"
  trap - EXIT
}

make_venv() {
  local python=$1
  "$python" -c 'import ensurepip' 2>/dev/null || install_debian python3-venv ||
    fail "Python's venv module is missing. Install it (Debian: apt-get install python3-venv), then run this again."
  rm -rf "$venv"
  "$python" -m venv "$venv" || fail "could not make a virtual environment in $venv"
}

# ensure_venv [EXTRA...]: makes .venv and installs this package with these extras, if not done already for
# the present pyproject.toml. The stamp holds the file's digest and the extras that were installed.
ensure_venv() {
  local digest stamp="$venv/installed" extra missing=0 python
  digest=$(cksum <"$root/pyproject.toml")
  if ! is_new_enough "$venv/bin/python"; then
    python=$(find_python)
    make_venv "$python"
  fi
  if [ "$(head -n 1 "$stamp" 2>/dev/null)" != "$digest" ]; then
    missing=1
  fi
  for extra in "$@"; do
    grep -qx "extra $extra" "$stamp" 2>/dev/null || missing=1
  done
  [ "$missing" = 1 ] || return 0
  local extras
  extras=$({ sed -n 's/^extra //p' "$stamp" 2>/dev/null || true; printf '%s\n' "$@"; } | sort -u | sed '/^$/d' | paste -sd,)
  say "Installing Turnout into .venv${extras:+ (with: $extras)} ..."
  persist "$venv/bin/python" -m pip install -qq --disable-pip-version-check -e "$root${extras:+[$extras]}" ||
    fail "the installation failed; the lines above say why. Run this again when that is mended."
  { printf '%s\n' "$digest"; printf '%s\n' "$extras" | tr ',' '\n' | sed '/^$/d; s/^/extra /'; } >"$stamp"
}
