"""Parse bounces, match them to deliveries, and record them."""
