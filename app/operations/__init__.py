"""What operators do, over the command line or the dashboard: find, send again, put back."""
