#!/bin/sh
# Gives each service a RabbitMQ user that may do what it needs and no more; takes guest away. Safe to repeat,
# and the way to change a password. Run it where rabbitmqctl reaches the node.
# docs/rabbitmq-access.md says what each permission is for.
set -eu

passwords="RABBITMQ_PUBLISHER_PASSWORD RABBITMQ_PAYMENTS_PASSWORD RABBITMQ_WORKER_PASSWORD"
for name in $passwords ${RABBITMQ_ADMIN_PASSWORD:+RABBITMQ_ADMIN_PASSWORD}; do
  eval "value=\${$name:-}"
  case $value in
    *[!A-Za-z0-9_-]*) echo "$name: only letters, digits, - and _, as it goes into URLs" >&2; exit 2 ;;
  esac
  [ ${#value} -ge 16 ] || { echo "$name: must be set, to 16 characters or more" >&2; exit 2; }
done

case ${RABBITMQ_EXCHANGE:-}${NAMESPACE:-} in
  *[!A-Za-z0-9._-]*) echo "RABBITMQ_EXCHANGE, NAMESPACE: only letters, digits, ., - and _ here" >&2; exit 2 ;;
esac

# Names as in the services' settings. A dot in a name is no wildcard.
exact() { printf %s "$1" | sed 's/[.]/[.]/g'; }
exchange=$(exact "${RABBITMQ_EXCHANGE:-movie_app_events}")
queues="$(exact "${NAMESPACE:-}")notification[.](booking_events|payment_events|email|sms)([.](DQ|XQ))?"

# Only where somebody wants to see the management pages.
admin=${RABBITMQ_ADMIN_PASSWORD:+'{"name": "admin", "password": "'$RABBITMQ_ADMIN_PASSWORD'", "tags": "administrator"},'}
all=${RABBITMQ_ADMIN_PASSWORD:+'{"user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},'}

# On standard input, where no list of processes shows the passwords.
rabbitmqctl -q import_definitions <<END
{
  "users": [
    $admin
    {"name": "booking-service", "password": "$RABBITMQ_PUBLISHER_PASSWORD", "tags": ""},
    {"name": "payment-service", "password": "$RABBITMQ_PAYMENTS_PASSWORD", "tags": ""},
    {"name": "notification-service", "password": "$RABBITMQ_WORKER_PASSWORD", "tags": ""}
  ],
  "permissions": [
    $all
    {
      "user": "booking-service", "vhost": "/",
      "configure": "^$", "write": "^$exchange$", "read": "^$"
    },
    {
      "user": "payment-service", "vhost": "/",
      "configure": "^$", "write": "^$exchange$", "read": "^$"
    },
    {
      "user": "notification-service", "vhost": "/",
      "configure": "^($exchange|$queues)$",
      "write": "^($exchange|$queues|amq[.]default)$",
      "read": "^($exchange|$queues)$"
    }
  ],
  "topic_permissions": [
    {
      "user": "booking-service", "vhost": "/", "exchange": "${RABBITMQ_EXCHANGE:-movie_app_events}",
      "write": "^booking[.]", "read": "^$"
    },
    {
      "user": "payment-service", "vhost": "/", "exchange": "${RABBITMQ_EXCHANGE:-movie_app_events}",
      "write": "^payment[.]", "read": "^$"
    },
    {
      "user": "notification-service", "vhost": "/", "exchange": "${RABBITMQ_EXCHANGE:-movie_app_events}",
      "write": "^payment[.]", "read": "^(booking|payment)[.][*]$"
    }
  ]
}
END

# It has every permission and a password that everybody knows.
if rabbitmqctl -q list_users | grep -q '^guest[[:space:]]'; then
  rabbitmqctl -q delete_user guest
fi
