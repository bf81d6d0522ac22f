"""The audit record: which requests and events are acts, what an entry says of one, how entries are chained, and checked."""
