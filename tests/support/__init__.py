"""Helpers of the tests, and real servers, found or started."""
