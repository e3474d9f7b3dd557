"""Boards elsewhere: the tracker that knows them, the server on them, the sessions with them."""
