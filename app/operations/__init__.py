"""What operators do on the command line and in the dashboard: find, resend, replay."""
