"""Long work: chunks on disk that survive an interrupt, their keys, progress, and batch sizes that fit into memory.

For other rooms: `kept_in`, `kept_chunk`, `current_store` and `ChunkStore` (`chunk_store.py`); `chunk_keys` and `key_of`
(`chunk_key.py`); `Arrays` and the functions on them (`chunk_file.py`); `Progress`, `silent` and `progress_between`
(`progress.py`); `Room` (`memory.py`); `Work` and `Pace` (`pace.py`); `TimeLimit` (`time_limit.py`).
"""
