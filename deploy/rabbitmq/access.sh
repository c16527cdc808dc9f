#!/bin/sh
# Create a RabbitMQ user with minimal permissions for each service, and delete the user guest.
# Run this script where rabbitmqctl can connect to the node. To change a password, run the script again.
# docs/rabbitmq-access.md explains each permission.
set -eu

passwords="RABBITMQ_PUBLISHER_PASSWORD RABBITMQ_PAYMENTS_PASSWORD RABBITMQ_WORKER_PASSWORD"
for name in $passwords ${RABBITMQ_ADMIN_PASSWORD:+RABBITMQ_ADMIN_PASSWORD}; do
  eval "value=\${$name:-}"
  case $value in
    *[!A-Za-z0-9_-]*) echo "$name must contain only letters, digits, hyphens, and underscores, because URLs contain it." >&2; exit 2 ;;
  esac
  [ ${#value} -ge 16 ] || { echo "$name must be set to at least 16 characters." >&2; exit 2; }
done

case ${RABBITMQ_EXCHANGE:-}${NAMESPACE:-} in
  *[!A-Za-z0-9._-]*) echo "RABBITMQ_EXCHANGE and NAMESPACE must contain only letters, digits, dots, hyphens, and underscores." >&2; exit 2 ;;
esac

# The names in the services' settings. A dot in a name must not match other characters.
exact() { printf %s "$1" | sed 's/[.]/[.]/g'; }
exchange=$(exact "${RABBITMQ_EXCHANGE:-movie_app_events}")
queues="$(exact "${NAMESPACE:-}")notification[.](booking_events|payment_events|email|sms)([.](DQ|XQ))?"

# The administrator for the management pages is optional.
admin=${RABBITMQ_ADMIN_PASSWORD:+'{"name": "admin", "password": "'$RABBITMQ_ADMIN_PASSWORD'", "tags": "administrator"},'}
all=${RABBITMQ_ADMIN_PASSWORD:+'{"user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},'}

# Pass the definitions on stdin, so that process lists do not show the passwords.
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

# The user guest has all permissions and a public password.
if rabbitmqctl -q list_users | grep -q '^guest[[:space:]]'; then
  rabbitmqctl -q delete_user guest
fi
