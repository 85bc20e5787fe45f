#!/bin/sh
# What the official image makes of its arguments: a configuration file is served, a command of the registry's
# is given to it, everything else is run.
set -e

case "$1" in
*.yaml | *.yml) set -- registry serve "$@" ;;
serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac

exec "$@"
