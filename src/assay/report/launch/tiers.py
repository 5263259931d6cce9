"""The prefix cache below the chip's memory: host memory and SSD, as each engine is told of them.

The sizes of a question are those of a host; every chip of it has its share. Engines cannot reach an SSD but
through host memory, so a cache on SSD alone gets a staging buffer there.
"""

from __future__ import annotations

from typing import Any

from assay.report.launch.arguments import Argument, argument, rule
from assay.report.launch.setting import Pool, Setting

#: Where the SSDs of a host are mounted.
STORE = "/mnt/kv-cache"
#: Variable by which SGLang finds them.
STORE_VARIABLE = "SGLANG_HICACHE_FILE_BACKEND_STORAGE_DIR"


def host(setting: Setting, pool: Pool) -> float:
    """Return the host memory of one chip for the cache, bytes; 0 = none. Decode pools keep none."""
    asked = setting.question.caches
    if asked is None or pool.role == "decode":
        return 0.0
    if asked.ssd and not asked.host:
        return rule("staging")
    return asked.host / pool.system.node


def ssd(setting: Setting, pool: Pool) -> float:
    """Return the SSD of one chip for the cache, bytes; 0 = none. Decode pools keep none."""
    asked = setting.question.caches
    return 0.0 if asked is None or pool.role == "decode" else asked.ssd / pool.system.node


def offloading(setting: Setting, pool: Pool) -> dict[str, Any] | None:
    """Return vLLM's offloading connector, which each attention group has of its own; None without tiers."""
    each = host(setting, pool)
    if not each:
        return None
    extra: dict[str, Any] = {"cpu_bytes_to_use": int(each * pool.rank_chips)}
    if ssd(setting, pool):
        extra |= {
            "spec_name": "TieringOffloadingSpec",
            "secondary_tiers": [{"type": "fs", "root_dir": STORE}],
        }
    return {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}


def sglang(setting: Setting, pool: Pool) -> list[Argument]:
    """Return SGLang's hierarchical cache; it counts GB a chip."""
    each = host(setting, pool)
    if not each:
        return []
    size = max(int(each / 1e9), 1)
    found = [
        argument("sglang", "enable-hierarchical-cache", "", "the row counts a cache in host memory or SSD"),
        argument("sglang", "hicache-size", size, _share(setting, pool, "GB of host memory for each chip")),
    ]
    if ssd(setting, pool):
        why = f"{STORE_VARIABLE}={STORE}: mount the SSDs there"
        found.append(argument("sglang", "hicache-storage-backend", "file", why))
        if setting.question.caches is not None and not setting.question.caches.host:
            staged = "host memory only stages what is on SSD"
            found.append(argument("sglang", "hicache-host-memory-mode", "buffer_only", staged))
    return found


def trtllm(setting: Setting, pool: Pool) -> list[Argument]:
    """Return TensorRT-LLM's settings; every rank has its own host and disk cache, in bytes."""
    each, disk = host(setting, pool), ssd(setting, pool)
    if not each:
        return []
    tool, why = "trtllm-yaml", _share(setting, pool, "bytes of host memory for each chip")
    found = [argument(tool, "kv_cache_config.host_cache_size", int(each), why)]
    if disk:
        found += [
            argument(tool, "kv_cache_config.disk_cache_size", int(disk), "bytes of SSD for each chip"),
            argument(tool, "kv_cache_config.disk_cache_path", STORE, "mount the SSDs there"),
            argument(tool, "kv_cache_config.use_kv_cache_manager_v2", "true", "the one that has a disk tier"),
        ]
    return found


def reason(setting: Setting, pool: Pool) -> str:
    """Return why vLLM's tiers are as large as they are."""
    words = _share(setting, pool, "host memory for each attention group")
    return words + (f", then files in {STORE}: mount SSDs there" if ssd(setting, pool) else "")


def _share(setting: Setting, pool: Pool, what: str) -> str:
    """Return what a size is, and where it comes from."""
    asked = setting.question.caches
    if asked is None or not asked.host:
        return f"{what}: staging only, an assumption"
    return f"{what}: of {asked.host / 1e9:g} GB over {pool.system.node} chips of a host"
