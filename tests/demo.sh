#!/bin/sh
# A real backup of this source tree, listed, and unpacked by plain tar. `make demo` runs it.
# usage: demo.sh DIR-OF-PROGRAMS SCRATCH-DIR
set -eu
PATH=$1:$PATH
export BK_HOME=$2/home
cd "$(dirname "$0")/.."
rm -rf "$2"
mkdir -p "$2/unpacked"

run() {
    printf '\n$ %s\n' "$1"
    eval "$1"
}
echo "BK_HOME is $BK_HOME"
run 'bk-create --name demo --description "what make demo made" --exclude /target --exclude .git . >/dev/null'
run 'bk-ls --table'
run 'bk-ls --table --long demo'
run 'bk-ls --files --table demo | head -n 4'
run "tar -xzf \"\$BK_HOME/archives/demo.tar.gz\" -C '$2/unpacked'"
run "diff -r --exclude target --exclude .git . '$2/unpacked' && echo 'the same tree'"
