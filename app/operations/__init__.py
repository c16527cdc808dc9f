"""Operators' tasks, shared by the command line and the dashboard: find, resend, replay."""
