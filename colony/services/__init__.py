"""Services: the port actor, which owns one operating system process."""
