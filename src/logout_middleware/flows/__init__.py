"""Flows: short `async def`s that ask a store something and apply rules.

No event loop, no sleep, no tasks: the same coroutine is awaited under ASGI and run to its end under WSGI.
"""
