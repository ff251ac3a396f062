"""`multiprocessing.Pool` on a cluster: the processes are actors, on whichever nodes have room."""

from multiprocessing import JoinableQueue

from manta.util.multiprocessing.pool import AsyncResult, IMapIterator, Pool, TimeoutError

__all__ = ["AsyncResult", "IMapIterator", "JoinableQueue", "Pool", "TimeoutError"]
