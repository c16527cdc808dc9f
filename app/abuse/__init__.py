"""Guards against abuse that uses the service as intended: testing stolen cards, flooding recipients."""
