"""Request by request: the engine's steps under real traffic, with queues, caches, routers and failures."""
