#!/bin/bash
# Start MongoDB with the key file that the members of a replica set need once there are users.
set -euo pipefail
keyfile=/tmp/keyfile
(umask 077 && printf '%s' "$MONGODB_KEY" >"$keyfile")
chown mongodb:mongodb "$keyfile"
exec docker-entrypoint.sh mongod --replSet rs0 --bind_ip_all --keyFile "$keyfile"
