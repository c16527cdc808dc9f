"""The ground that the tests stand on: real servers, found or started."""
