#!/bin/sh
# Starts Redis in a container with a user for each service: those of users.acl, which lies beside this file, with what
# their passwords hash to. The passwords come by the environment; none is on a command line, which everybody may read.
#
# Arguments: options of redis-server. RUN_FOLDER: where the users' file may be written (/tmp).
set -eu
umask 077

# A user's place in the file, taken by the hash of a password.
put() {
  test -n "$2" || { echo "the password of Redis's user $1 is empty: run make env, or fill the Secret" >&2; exit 1; }
  hash=$(printf %s "$2" | sha256sum | cut -c 1-64)
  edits="${edits:-}s|{$1}|$hash|;"
}

put default "${REDISCLI_AUTH:-}"
put gateway "${REDIS_GATEWAY_PASSWORD:-}"
put worker "${REDIS_WORKER_PASSWORD:-}"
put persister "${REDIS_PERSISTER_PASSWORD:-}"
if test -n "${REDIS_SCALER_PASSWORD:-}"; then
  put scaler "$REDIS_SCALER_PASSWORD"
else
  edits="$edits/{scaler}/d;"
fi

users=${RUN_FOLDER:-/tmp}/users.acl
sed -e "${edits}s|{prefix}|${KEY_PREFIX:-millstream:}|g" "$(dirname "$0")/users.acl" >"$users"
exec redis-server --aclfile "$users" "$@"
